"""Reading encoded images with Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from PIL import Image, UnidentifiedImageError

from cvat_lambda.errors import FrameUnreadable

# What Pillow raises for data that are no image, or only half of one.
DECODE_ERRORS: Final = (
    UnidentifiedImageError,
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    Image.DecompressionBombError,
)
_ORIENTATION: Final = 0x0112  # the EXIF tag; 5 to 8 lay the image on its side


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """Open an image. Raise FrameUnreadable for data that Pillow cannot read, here or later."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            yield image
    except DECODE_ERRORS as exc:
        raise FrameUnreadable("the frame cannot be read as an image") from exc


def image_size(data: bytes) -> tuple[int, int]:
    """Return width and height of an image as people see it, in pixels. Raise FrameUnreadable."""
    with opened(data) as image:
        width, height = image.size
        if image.format == "PNG" and b"eXIf" not in data:
            return width, height  # to look for EXIF, Pillow would decode all of it
        sideways = image.getexif().get(_ORIENTATION, 1) >= 5
    return (height, width) if sideways else (width, height)
