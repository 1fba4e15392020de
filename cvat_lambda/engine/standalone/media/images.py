"""Check, convert and encode image files.

Most files are shown as they were uploaded. A copy is shown instead where programs would disagree
about the file: EXIF orientation, more than eight bits per channel, a missing end marker.
"""

from __future__ import annotations

import hashlib
import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops, ImageOps

from cvat_lambda.engine.standalone.conf import engine_settings
from cvat_lambda.errors import InvalidRequest
from cvat_lambda.images.decode import DECODE_ERRORS
from cvat_lambda.images.encode import BMP, encode, is_deep, to_8_bits

_ORIENTATION = 0x0112  # the EXIF tag; 1 is upright
_JPEG_END = b"\xff\xd9"
_FILLER = b"\x55" * 4096  # the decoder fills missing pixels
_LARGE_PIXELS = 64 * 1024 * 1024  # a process decodes one such image at a time

_large_lock = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class DisplayCopy:
    """An encoded copy that is shown in place of the uploaded file."""

    data: bytes
    suffix: str  # of a file name, ".png"
    mime: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What is known of an image file."""

    mime: str  # of what is shown
    width: int  # pixels, as shown
    height: int
    fingerprint: str  # of the uploaded content
    shown: DisplayCopy | None = None  # None: the file itself is shown


def fingerprint_of(data: bytes) -> str:
    """Return a short key of some content."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def is_large(width: int | None, height: int | None) -> bool:
    """Return whether decoding an image of this size needs so much memory that it is limited."""
    return (width or 0) * (height or 0) > _LARGE_PIXELS


def inspect(path: Path, name: str, *, decode: bool = True) -> ImageFacts:
    """Check an image file. With ``decode``, check that all its pixels can be read.

    The number of pixels is checked before the content is read. Raise InvalidRequest, naming the
    file, if it cannot be used.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # broken EXIF data and the like do not matter
            with _open(path) as image:
                _require_pixels(image.width, image.height, name)
            return _inspect(path.read_bytes(), decode=decode)
    except DECODE_ERRORS as exc:
        raise InvalidRequest(f"file '{name}' cannot be read as an image") from exc


def _require_pixels(width: int, height: int, name: str) -> None:
    maximum = engine_settings.MAX_IMAGE_PIXELS
    if width * height > maximum:
        raise InvalidRequest(
            f"file '{name}' has {width} x {height} = {width * height} pixels;"
            f" this server takes images of {maximum} pixels at most"
        )


def _inspect(content: bytes, *, decode: bool) -> ImageFacts:
    with _open(io.BytesIO(content)) as image:
        fingerprint = fingerprint_of(content)
        mime = Image.MIME.get(image.format or "", "application/octet-stream")
        repaired = None
        if image.format == "JPEG" and not content.rstrip(b"\0").endswith(_JPEG_END):
            repaired = content + _JPEG_END
            _require_all_pixels(content)
        if int(image.getexif().get(_ORIENTATION, 1) or 1) in range(2, 9):
            return _with_copy(_upright(repaired or content), fingerprint)
        if is_deep(image):
            return _with_copy(encode_png(to_8_bits(decoded(image))), fingerprint)
        if repaired is not None:
            return _with_copy(repaired, fingerprint)
        if decode:
            # At an eighth of its size, all data of a JPEG are checked several times faster.
            image.draft(image.mode, (max(1, image.width // 8), max(1, image.height // 8)))
            width, height = _full_size(content)
            decoded(image)
        else:
            width, height = image.size
        return ImageFacts(mime=mime, width=width, height=height, fingerprint=fingerprint)


def _full_size(content: bytes) -> tuple[int, int]:
    """Return the size before ``draft`` reduces it."""
    with _open(io.BytesIO(content)) as image:
        return image.size


def _with_copy(data: bytes, fingerprint: str) -> ImageFacts:
    with _open(io.BytesIO(data)) as image:
        mime = Image.MIME[image.format or ""]
        suffix = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}.get(image.format or "", ".tif")
        return ImageFacts(
            mime=mime,
            width=image.width,
            height=image.height,
            fingerprint=fingerprint,
            shown=DisplayCopy(data=data, suffix=suffix, mime=mime),
        )


def _require_all_pixels(content: bytes) -> None:
    """Raise ValueError if more than the end marker of a JPEG is missing.

    Data that follow the last pixel are ignored by the decoder. So the two images differ if the
    filler becomes pixels.
    """
    ended = decode(content + _JPEG_END)
    filled = decode(content + _FILLER + _JPEG_END)
    if ImageChops.difference(ended, filled).getbbox() is not None:
        raise ValueError("the image is cut off")


def _upright(content: bytes) -> bytes:
    """Return the image turned as its EXIF orientation says, in a format that browsers show."""
    with _open(io.BytesIO(content)) as image:
        # Pillow turns a TIFF itself when it loads the pixels, and then has no orientation.
        turned = ImageOps.exif_transpose(decoded(image))
        turned.info.pop("exif", None)
        if is_deep(image):
            return encode_png(to_8_bits(turned))
        buffer = io.BytesIO()
        if image.format in ("JPEG", "WEBP"):
            turned.save(buffer, format=image.format, quality=95)
        else:
            keeps_mode = turned.mode in ("1", "L", "LA", "P", "RGB", "RGBA")
            (turned if keeps_mode else turned.convert("RGB")).save(buffer, format="PNG")
        return buffer.getvalue()


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the image with eight bits per channel and without transparency."""
    image = to_8_bits(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def encode_jpeg(image: Image.Image, *, quality: int) -> bytes:
    """Return the image as JPEG."""
    buffer = io.BytesIO()
    to_rgb(image).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def encode_png(image: Image.Image) -> bytes:
    """Return the image as PNG. Little compression is faster, and the size matters less here."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def encode_bmp(image: Image.Image) -> bytes:
    """Return the image as BMP, 3 bytes a pixel: this takes a fiftieth of the time of a PNG file."""
    return encode(image, BMP)


def decode(data: bytes) -> Image.Image:
    """Return the pixels of an encoded frame. Raise one of `DECODE_ERRORS`."""
    return decoded(_open(io.BytesIO(data)))


def decode_unlocked(data: bytes) -> Image.Image:
    """Decode as `decode` does, for callers that hold `large_image_lock`."""
    image = _open(io.BytesIO(data))
    image.load()
    return image


def decoded(image: Image.Image) -> Image.Image:
    """Load the pixels of an opened image. Of large images, one at a time is loaded."""
    with large_image_lock(image.width, image.height):
        image.load()
    return image


@contextmanager
def large_image_lock(width: int | None, height: int | None) -> Iterator[None]:
    """Hold a lock while a large image is processed, which needs gigabytes. Others need no lock."""
    if not is_large(width, height):
        yield
        return
    with _large_lock:
        yield


def _open(source: Path | io.BytesIO) -> Image.Image:
    raise_pixel_limit()
    return Image.open(source)


def raise_pixel_limit() -> None:
    """Let Pillow accept what the setting allows: its own limit is 179 million pixels."""
    Image.MAX_IMAGE_PIXELS = engine_settings.MAX_IMAGE_PIXELS
