"""Decoding, resizing, cutting and encoding of images."""

from __future__ import annotations

import base64
import binascii
import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from common.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

# 100 megapixels are 300 MB as RGB.
DEFAULT_MAX_PIXELS = 100_000_000
# Pillow reads dozens of formats, some of them by starting other programs: only these are allowed.
# Of a GIF the first image is taken.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
_ORIENTATION = 0x0112  # the EXIF tag
# EXIF orientation -> the operation that turns the image upright (EXIF 2.32, table 4.6.4).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(
    encoded: object, *, field: str = "image", read_only: bool = False
) -> NDArray[np.uint8]:
    """Decode an image file to an upright RGB array of shape (height, width, 3).

    The file is base64 text, or the bytes of a binary body. A ``read_only`` array takes a copy less.
    The EXIF orientation is applied, transparency is dropped, 16-bit grey is scaled to 8 bits.
    Raises BadInput, naming ``field``, when the image is missing, damaged or too large.
    """
    content, limit = _decode_base64(encoded, field), max_pixels()
    try:
        picture = _decode_file(content, field, limit)
        return np.asarray(picture) if read_only else np.array(picture)
    except (BadInput, MemoryError):
        raise
    except Exception as error:  # decoders raise many types of errors at damaged files
        raise BadInput(
            f"'{field}' cannot be decoded; send a whole PNG, JPEG, WebP, BMP or TIFF file in base64"
        ) from error


def max_pixels() -> int:
    """Return the limit of an image's pixels (environment: CVAT_LAMBDA_MAX_PIXELS)."""
    return int(os.environ.get("CVAT_LAMBDA_MAX_PIXELS", DEFAULT_MAX_PIXELS))


def resize(image: NDArray[np.uint8], *, width: int, height: int) -> NDArray[np.uint8]:
    """Resize an RGB or grey image to ``width`` x ``height`` pixels, bilinear with antialiasing."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def crop(
    image: NDArray[np.uint8],
    box: tuple[float, float, float, float],
    *,
    width: int,
    height: int,
    fill: tuple[int, int, int] = (0, 0, 0),
) -> NDArray[np.uint8]:
    """Cut ``box`` (x0, y0, x1, y1 in pixels) out of an RGB image and resize it, bilinear.

    The box may have fractions and may reach beyond the image; the pixels there become ``fill``.
    """
    import cv2  # imported late: functions that cut nothing need no OpenCV

    # OpenCV limits the sides of its source, so it gets only the part under the box. One pixel on
    # each side of the box takes part in the interpolation.
    left, top = (max(0, math.floor(min(ends)) - 1) for ends in (box[0::2], box[1::2]))
    right, bottom = (max(0, math.ceil(max(ends)) + 1) for ends in (box[0::2], box[1::2]))
    part = image[top:bottom, left:right]
    if not part.size:  # the whole box lies outside
        return np.full((height, width, 3), fill, dtype=np.uint8)
    across, down = (box[2] - box[0]) / width, (box[3] - box[1]) / height
    # OpenCV counts from the centre of a pixel, a box from its corner.
    x, y = box[0] - left + across / 2, box[1] - top + down / 2
    matrix = np.array([[across, 0.0, x - 0.5], [0.0, down, y - 0.5]])
    cut = cv2.warpAffine(
        part,
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    columns, rows = x + np.arange(width) * across, y + np.arange(height) * down
    if columns.min() < 0 or columns.max() >= part.shape[1]:
        cut[:, (columns < 0) | (columns >= part.shape[1])] = fill
    if rows.min() < 0 or rows.max() >= part.shape[0]:
        cut[(rows < 0) | (rows >= part.shape[0])] = fill
    return np.asarray(cut, dtype=np.uint8)


def mean_colour(image: NDArray[np.uint8]) -> tuple[int, int, int]:
    """Return the mean of red, green and blue over an RGB image, rounded."""
    # Integer sums by column: a float mean takes 0.5 s on 24 megapixels.
    sums = image.sum(axis=0, dtype=np.uint64).sum(axis=0)
    red, green, blue = (int(value) for value in (sums / (image.size / 3)).round())
    return red, green, blue


def grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the luma of an RGB image (ITU-R BT.601 weights), shape (height, width)."""
    return np.asarray(Image.fromarray(image).convert("L"))


def encode_png(image: NDArray[np.uint8]) -> str:
    """Encode an array of shape (h, w) or (h, w, 3) as a PNG file in base64 text."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _decode_base64(encoded: object, field: str) -> bytes | memoryview:
    if isinstance(encoded, memoryview):  # of a binary body
        return encoded
    if not isinstance(encoded, str) or not encoded:
        raise BadInput(f"'{field}' is missing; send an image file in base64")
    try:
        return base64.b64decode(encoded, validate=False)
    except (binascii.Error, ValueError) as error:
        raise BadInput(f"'{field}' is not base64 text") from error


def _decode_file(content: bytes | memoryview, field: str, limit: int) -> Image.Image:
    """Return the upright RGB picture."""
    with _without_pillows_limit(), Image.open(io.BytesIO(content), formats=FORMATS) as picture:
        # The size is in the header, so a decompression bomb is refused before it is decoded.
        if picture.width * picture.height > limit:
            raise BadInput(
                f"'{field}' has {picture.width}x{picture.height} pixels, "
                f"more than the limit of {limit}; send a smaller image"
            )
        picture.load()  # this turns a TIFF upright and removes its orientation tag
        turn = _UPRIGHT.get(_orientation(picture))
        upright = picture if turn is None else picture.transpose(turn)
        return _to_rgb(upright)


@contextmanager
def _without_pillows_limit() -> Iterator[None]:
    """Switch Pillow's own size limit off: `max_pixels` replaces it."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation, or 0 when the EXIF data cannot be read.

    Pillow's `exif_transpose` is not used: it writes all EXIF data again and fails at bad tags.
    """
    try:
        orientation = picture.getexif().get(_ORIENTATION)
    except Exception:  # damaged EXIF data raise many types of errors
        return 0
    return orientation if isinstance(orientation, int) else 0


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16") or picture.mode == "I":
        # Pillow would clip 16-bit grey at 255: nearly all pixels would be white.
        values = np.asarray(picture).astype(np.float64)
        return Image.fromarray((values / 257.0).clip(0, 255).astype(np.uint8)).convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")
