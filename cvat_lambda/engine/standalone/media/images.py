"""Inspection, validation and EXIF orientation of image files."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from cvat_lambda.engine.standalone.conf import engine_settings
from cvat_lambda.errors import InvalidRequest
from cvat_lambda.images.decode import DECODE_ERRORS
from cvat_lambda.images.encode import to_8_bits

_ORIENTATION = 0x0112  # the EXIF tag; 1 is upright
_SWAPS_SIDES = frozenset({5, 6, 7, 8})


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """Metadata of an image file."""

    mime: str
    width: int  # pixels, EXIF orientation applied
    height: int
    orientation: int  # EXIF, 1..8
    fingerprint: str  # of the file's content


def fingerprint_of(data: bytes) -> str:
    """Return a short hash of content."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def inspect(path: Path, name: str, *, decode: bool = True) -> ImageFacts:
    """Read the metadata of an image file; with `decode`, check that its pixels can be decoded.

    Raise InvalidRequest, which names the file, if it is no image.
    """
    try:
        content = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # broken EXIF does not make the image unusable
            with Image.open(io.BytesIO(content)) as image:
                return _facts(image, content, decode=decode)
    except DECODE_ERRORS as exc:
        raise InvalidRequest(f"file '{name}' cannot be read as an image") from exc


def _facts(image: Image.Image, content: bytes, *, decode: bool) -> ImageFacts:
    width, height = image.size
    if width * height > engine_settings.MAX_IMAGE_PIXELS:
        raise ValueError("too many pixels")
    orientation = int(image.getexif().get(_ORIENTATION, 1) or 1)
    if orientation in _SWAPS_SIDES:
        width, height = height, width
    mime = image.get_format_mimetype() if hasattr(image, "get_format_mimetype") else None
    mime = mime or Image.MIME.get(image.format or "", "application/octet-stream")
    if decode:
        # Decoding a JPEG at 1/8 of its size reads the whole stream and is several times faster.
        image.draft(image.mode, (max(1, image.width // 8), max(1, image.height // 8)))
        image.load()
    return ImageFacts(
        mime=mime,
        width=width,
        height=height,
        orientation=orientation if 1 <= orientation <= 8 else 1,
        fingerprint=fingerprint_of(content),
    )


def turn_upright(source: Path, target: Path) -> None:
    """Write the image with its EXIF orientation applied, in the same format."""
    with Image.open(source) as image:
        options_of_format = {"quality": 95} if image.format in ("JPEG", "WEBP") else {}
        ImageOps.exif_transpose(image).save(target, format=image.format, **options_of_format)


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the image with 8 bits a channel and no transparency, as JPEG requires."""
    image = to_8_bits(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def encode_jpeg(image: Image.Image, *, quality: int) -> bytes:
    """Return the image as JPEG."""
    buffer = io.BytesIO()
    to_rgb(image).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def encode_png(image: Image.Image) -> bytes:
    """Return the image as PNG with fast compression."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def decode(data: bytes) -> Image.Image:
    """Return the pixels of an encoded frame. Raise one of `DECODE_ERRORS`."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image
