"""Writing images in the types that functions take."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from PIL import Image

JPEG: Final = "image/jpeg"
PNG: Final = "image/png"
WEBP: Final = "image/webp"
BMP: Final = "image/bmp"
FORMATS: Final[Mapping[str, str]] = {JPEG: "JPEG", PNG: "PNG", WEBP: "WEBP", BMP: "BMP"}

_MODES: Final[Mapping[str, tuple[str, ...]]] = {  # that are written as they are
    PNG: ("1", "L", "LA", "P", "RGB", "RGBA"),
    JPEG: ("L", "RGB"),
    WEBP: ("RGB",),
    BMP: ("L", "RGB"),
}
_ROWS_AT_ONCE: Final = 64
_DEEP_MODES: Final = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def bmp_bytes(width: int, height: int) -> int:
    """Return the size of an RGB image as a BMP file."""
    return 54 + (3 * width + 3) // 4 * 4 * height


def is_deep(image: Image.Image) -> bool:
    """Tell whether a grey image has more than eight bits a pixel."""
    return image.mode in _DEEP_MODES


def to_8_bits(image: Image.Image) -> Image.Image:
    """Return a deep grey image with eight bits a pixel, as CVAT and our pages show it.

    The lowest value becomes black and the highest one white. Other images are returned as they
    are.
    """
    if not is_deep(image):
        return image
    pixels = np.asarray(image)
    finite = np.isfinite(pixels)  # float TIFFs mark missing pixels with NaN
    known = pixels if finite.all() else pixels[finite]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    scale = 255.0 / (high - low) if high > low else 0.0
    shown = np.empty(pixels.shape, dtype=np.uint8)
    for start in range(0, len(pixels), _ROWS_AT_ONCE):  # floats of a large image take gigabytes
        rows = slice(start, start + _ROWS_AT_ONCE)
        values = (pixels[rows].astype(np.float64) - low) * scale
        shown[rows] = np.where(finite[rows], values, 0.0)
    return Image.fromarray(shown)


def encode(image: Image.Image, mime: str, **options: Any) -> bytes:
    """Encode an image as one of `FORMATS`, with Pillow's ``options`` for that format."""
    image = to_8_bits(image)
    if image.mode not in _MODES[mime]:
        image = image.convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, FORMATS[mime], **options)
    return buffer.getvalue()
