"""Videos for tests. The grey value of each frame encodes its number."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

STEP = 6  # difference of the grey values of two frames


def make_video(
    path: Path,
    *,
    frames: int = 30,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    key_every: int = 10,
) -> Path:
    """Write a video. The grey value of its frame n is about 16 + 6 n."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25))
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.bit_rate = 4_000_000
        stream.gop_size = key_every
        if codec == "libx264":
            stream.options = {"crf": "10", "bf": "2"}
        for number in range(frames):
            level = grey_of(number) % 256
            pixels = np.full((size[1], size[0], 3), level, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def grey_of(number: int) -> int:
    """Return the grey value of a frame."""
    return 16 + STEP * number


def number_of(data: bytes) -> int:
    """Return the frame number that the grey value of an image encodes."""
    with Image.open(io.BytesIO(data)) as image:
        level = float(np.asarray(image.convert("L")).mean())
    return round((level - 16) / STEP)
