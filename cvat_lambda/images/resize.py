"""Images that fit what a function declares: smaller, of another type, or with fewer bits.

A function gets the bytes of the frame as they are, with two exceptions. A function that declares
``max_image_side`` or ``accepts`` gets an image that fits. A grey image of more than eight bits
becomes one of eight bits that shows what people see, because functions read deep images in
different ways: white, black, or not at all.

An image becomes a JPEG, which loses a little, only if it is one already or if ``accepts`` names
JPEG.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

from PIL import Image

from cvat_lambda.annotations.placement import WHOLE_FRAME, Placement
from cvat_lambda.errors import FrameUnreadable
from cvat_lambda.images.decode import opened
from cvat_lambda.images.encode import BMP, FORMATS, JPEG, PNG, WEBP, encode, is_deep, to_8_bits

_QUALITIES: Final = (95, 85, 75)  # the first that fits
_OTHER_FIELDS_BYTES: Final = 16_384  # of a body, beside the image
# Files that begin so have at most eight bits a channel: JPEG, WebP, BMP, GIF.
_SHALLOW: Final = (b"\xff\xd8\xff", b"RIFF", b"BM", b"GIF8")
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_DEPTH: Final = 24  # where a PNG file has its bit depth


class ImageLimits(Protocol):
    """What a function declares about images; a `FunctionSpec` is one."""

    @property
    def id(self) -> str:
        """The function's id, for messages."""

    @property
    def accepts(self) -> tuple[str, ...]:
        """The image types that it takes; empty: any."""

    @property
    def max_image_side(self) -> int | None:
        """The side in pixels to which it downscales larger images anyway; None: it does not."""

    @property
    def max_body_bytes(self) -> int:
        """The size of the largest request that it takes."""

    @property
    def least_images(self) -> int:
        """The number of images in its smallest request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizedImage:
    """The image to send, and where it lies in its frame."""

    data: bytes
    placement: Placement = WHOLE_FRAME


def resize(data: bytes, limits: ImageLimits, *, keep_size: bool = False) -> ResizedImage:
    """Make an image fit what a function declares; ``keep_size`` changes its type only.

    Raise FrameUnreadable if it must be changed and cannot be read.
    """
    max_side = None if keep_size else limits.max_image_side
    has_limits = bool(limits.accepts) or max_side is not None
    if not has_limits and not _may_be_deep(data):
        return ResizedImage(data=data)
    try:
        with opened(data) as image:
            return _resize(data, image, limits, max_side)
    except FrameUnreadable as exc:
        if not has_limits:  # the function judges data that are not a known image
            return ResizedImage(data=data)
        raise FrameUnreadable(
            f"the frame cannot be read as an image, and function '{limits.id}' does not take it as "
            "it is"
        ) from exc


def _may_be_deep(data: bytes) -> bool:
    """Tell from the first bytes whether an image may have more than eight bits a channel."""
    if data.startswith(_PNG):
        return data[_PNG_DEPTH : _PNG_DEPTH + 1] == b"\x10"
    return not data.startswith(_SHALLOW)


def _resize(
    data: bytes, image: Image.Image, limits: ImageLimits, max_side: int | None
) -> ResizedImage:
    has = Image.MIME.get(image.format or "", "")
    too_large = max_side is not None and max(image.size) > max_side
    unknown_type = bool(limits.accepts) and has not in limits.accepts
    too_heavy = JPEG in limits.accepts and len(data) > max_image_bytes(limits)
    if not (too_large or unknown_type or too_heavy or is_deep(image)):
        return ResizedImage(data=data)
    target = _target(has, limits, to_jpeg=unknown_type or too_heavy)
    width, height = image.size
    exif = image.info.get("exif")  # holds the orientation, which must not get lost
    if max_side is None or not too_large:
        sent = _to_plain_mode(image, target)
        return ResizedImage(data=_encode(sent, target, exif, max_image_bytes(limits)))
    image.draft(None, (max_side, max_side))  # a JPEG is decoded near its new size
    ratio = max_side / max(width, height)
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    plain = _to_plain_mode(image, target)
    sent = plain.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    return ResizedImage(
        data=_encode(sent, target, exif, max_image_bytes(limits)),
        placement=Placement(scale=(sent.width / width, sent.height / height), size=sent.size),
    )


def max_image_bytes(limits: ImageLimits) -> int:
    """Return the largest size in bytes of an image, so that a call fits into a body in base64."""
    room = (limits.max_body_bytes - _OTHER_FIELDS_BYTES) * 3 // 4
    return max(1, room // limits.least_images)


def _target(has: str, limits: ImageLimits, *, to_jpeg: bool) -> str:
    """Choose the image type to send."""
    if JPEG in limits.accepts and to_jpeg:
        return JPEG
    if has in FORMATS and (not limits.accepts or has in limits.accepts):
        return has
    return next((known for known in limits.accepts if known in FORMATS), PNG)


def _to_plain_mode(image: Image.Image, target: str) -> Image.Image:
    """Decode into a mode that every image type has."""
    image = to_8_bits(image)
    if image.mode in ("L", "RGB") or (image.mode == "RGBA" and target == PNG):
        image.load()
        return image
    return image.convert("RGB")


def _encode(image: Image.Image, target: str, exif: bytes | None, max_bytes: int) -> bytes:
    options: dict[str, Any] = {"exif": exif} if exif and target != BMP else {}
    if target not in (JPEG, WEBP):
        return encode(image, target, **options)
    for quality in _QUALITIES:
        data = encode(image, target, quality=quality, **options)
        if len(data) <= max_bytes:
            break
    return data
