"""Decoding, resizing, cutting and encoding of images."""

from __future__ import annotations

import base64
import binascii
import io
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from common.errors import BadInput

try:
    import cv2
    from cv2 import IMREAD_COLOR_RGB, IMREAD_IGNORE_ORIENTATION
except ImportError:  # without OpenCV, or with one before 4.11, Pillow decodes every file
    cv2 = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from numpy.typing import NDArray

# 100 megapixels are 300 MB as RGB.
DEFAULT_MAX_PIXELS = 100_000_000
# Pillow reads dozens of formats, some of them by starting other programs: only these are allowed.
# Of a GIF the first image is taken.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
_OPENCV_MODES = ("RGB", "L")  # of files that OpenCV decodes in less time, to the same pixels
# The beginnings of the chunks of a PNG file in which Pillow finds an orientation or more images.
_PNG_EXTRAS = (
    *(b"acTL", b"eXIf", b"iTXtXML:com.adobe.xmp", b"tEXtXML:com.adobe.xmp"),
    *(b"zTXtXML:com.adobe.xmp", b"tEXtRaw profile", b"zTXtRaw profile", b"tEXtexif\0"),
)
_JPEG_END = b"\xff\xd9"
# In the pixels of a JPEG file 0xFF is followed by 0, by a number of a restart, or by 0xFF.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_PLAIN_BMP = b"\x28\0\0\0\x18\0"  # a header of 40 bytes, 24 bits a pixel
_MAX_COPIED = 2**20  # pixels of a box that `crop` may copy
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


def decode_image(encoded: object, *, field: str = "image") -> NDArray[np.uint8]:
    """Decode an image file to an upright RGB array of shape (height, width, 3).

    The file is base64 text, or the bytes of a binary body.
    The EXIF orientation is applied, transparency is dropped, 16-bit grey is scaled to 8 bits.
    Raises BadInput, naming ``field``, when the image is missing, damaged or too large.
    """
    content, limit = _decode_base64(encoded, field), max_pixels()
    try:
        return _decode_file(content, field, limit)
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
    x0, y0, x1, y1 = box
    across, down = (x1 - x0) / width, (y1 - y0) / height
    is_whole = all(float(side).is_integer() for side in box)
    if is_whole and across >= 1 and down >= 1 and (x1 - x0) * (y1 - y0) <= _MAX_COPIED:
        cut = _shrink(image, (int(x0), int(y0), int(x1), int(y1)), (width, height))
    else:
        cut = _transform(image, box, (width, height))
    if cut is None:  # the whole box lies outside
        return np.full((height, width, 3), fill, dtype=np.uint8)
    if x0 < 0 or x1 > image.shape[1]:
        columns = x0 + (np.arange(width) + 0.5) * across
        cut[:, (columns < 0) | (columns >= image.shape[1])] = fill
    if y0 < 0 or y1 > image.shape[0]:
        rows = y0 + (np.arange(height) + 0.5) * down
        cut[(rows < 0) | (rows >= image.shape[0])] = fill
    return cut


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


def _shrink(
    image: NDArray[np.uint8], box: tuple[int, int, int, int], size: tuple[int, int]
) -> NDArray[np.uint8] | None:
    """Cut a box of whole pixels that is not smaller than ``size``, which is (width, height).

    The image is continued beyond its border. None is returned if the whole box lies outside.
    It takes a third of the time of `_transform`.
    """
    import cv2  # not optional for functions that cut

    left, top, right, bottom = box
    height, width = image.shape[:2]
    part = image[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    if not part.size:
        return None
    beyond = (-top, bottom - height, -left, right - width)
    if max(beyond) > 0:
        above, below, before, after = (max(0, side) for side in beyond)
        edges = cv2.BORDER_REPLICATE
        part = np.asarray(cv2.copyMakeBorder(part, above, below, before, after, edges), np.uint8)
    return np.asarray(cv2.resize(part, size), dtype=np.uint8)


def _transform(
    image: NDArray[np.uint8], box: tuple[float, float, float, float], size: tuple[int, int]
) -> NDArray[np.uint8] | None:
    """Cut any box as `_shrink` does, smaller or larger than ``size``."""
    import cv2  # not optional for functions that cut

    # OpenCV limits the sides of its source, so it gets only the part under the box. One pixel on
    # each side of the box takes part in the interpolation.
    left, top = (max(0, math.floor(min(ends)) - 1) for ends in (box[0::2], box[1::2]))
    right, bottom = (max(0, math.ceil(max(ends)) + 1) for ends in (box[0::2], box[1::2]))
    part = image[top:bottom, left:right]
    if not part.size:
        return None
    across, down = (box[2] - box[0]) / size[0], (box[3] - box[1]) / size[1]
    # OpenCV counts from the centre of a pixel, a box from its corner.
    x, y = box[0] - left + across / 2 - 0.5, box[1] - top + down / 2 - 0.5
    cut = cv2.warpAffine(
        part,
        np.array([[across, 0.0, x], [0.0, down, y]]),
        size,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(cut, dtype=np.uint8)


def _decode_base64(encoded: object, field: str) -> bytes:
    if isinstance(encoded, memoryview):  # of a binary body
        return bytes(encoded)
    if not isinstance(encoded, str) or not encoded:
        raise BadInput(f"'{field}' is missing; send an image file in base64")
    try:
        return base64.b64decode(encoded, validate=False)
    except (binascii.Error, ValueError) as error:
        raise BadInput(f"'{field}' is not base64 text") from error


def _decode_file(content: bytes, field: str, limit: int) -> NDArray[np.uint8]:
    """Return the upright RGB picture."""
    with _without_pillows_limit(), Image.open(io.BytesIO(content), formats=FORMATS) as picture:
        # The size is in the header, so a decompression bomb is refused before it is decoded.
        if picture.width * picture.height > limit:
            raise BadInput(
                f"'{field}' has {picture.width}x{picture.height} pixels, "
                f"more than the limit of {limit}; send a smaller image"
            )
        decoded = _decode_with_opencv(content, picture)
        if decoded is not None:
            return decoded
        picture.load()  # this turns a TIFF upright and removes its orientation tag
        turn = _UPRIGHT.get(_orientation(picture))
        upright = picture if turn is None else picture.transpose(turn)
        return np.array(_to_rgb(upright))


def _decode_with_opencv(content: bytes, picture: Image.Image) -> NDArray[np.uint8] | None:
    """Return the pixels of a file that Pillow opened, or None if Pillow has to decode it."""
    if cv2 is None or picture.mode not in _OPENCV_MODES:
        return None
    if picture.format == "JPEG":
        is_plain = _orientation(picture) not in _UPRIGHT and _has_one_whole_scan(content)
    elif picture.format == "PNG":
        is_plain = _is_plain_png(content)
    else:
        is_plain = picture.format == "BMP" and content[14:18] + content[28:30] == _PLAIN_BMP
    if not is_plain:
        return None
    flags = IMREAD_COLOR_RGB | IMREAD_IGNORE_ORIENTATION
    try:
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:  # for example an image that is wider than OpenCV's limit
        return None
    return None if decoded is None else np.asarray(decoded, np.uint8)


def _has_one_whole_scan(jpeg: bytes) -> bool:
    """Return whether the pixels of a JPEG file end where the file ends.

    They do not if the file has several scans, or is damaged. From an unknown marker on, OpenCV
    paints the image grey, and Pillow raises an error.
    """
    place = 2  # after the first marker
    while jpeg[place : place + 1] == b"\xff" and jpeg[place + 1 : place + 2] != b"\xda":
        place += 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
    found = _JPEG_MARKER.search(jpeg, place + 2)
    return found is not None and found[0] == _JPEG_END and found.end() == len(jpeg)


def _is_plain_png(content: bytes) -> bool:
    """Return whether a PNG file has no orientation and only one image.

    Pillow decodes the whole file before it knows, because these notes may stand at its end.
    """
    place = 8  # after the signature
    while place + 8 <= len(content):
        if content.startswith(_PNG_EXTRAS, place + 4):
            return False
        place += 12 + int.from_bytes(content[place : place + 4], "big")
    return True


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
