"""Smaller images for functions that declare to take them, and their results at full size again.

Nothing is changed unless the function's own metadata allow it: ``max_image_side`` says that it
downscales anyway, ``accepts`` which image types it reads. JPEG, which loses a little, is made only
of what is JPEG already or where ``accepts`` names it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image

from cvat_lambda.annotations import rle
from cvat_lambda.annotations.errors import AnswerError, ShapeError
from cvat_lambda.annotations.shapes import is_number
from cvat_lambda.errors import FrameUnreadable
from cvat_lambda.functions.spec import FunctionSpec

JPEG: Final = "image/jpeg"
_FORMATS: Final[Mapping[str, str]] = {
    JPEG: "JPEG",
    "image/png": "PNG",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
}
_QUALITIES: Final = (95, 85, 75)  # the first that fits
_OTHER_FIELDS_BYTES: Final = 16_384  # of a body, beside the image


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizedImage:
    """The image to send; ``scale_x``, ``scale_y`` are its size by that of the frame."""

    data: bytes
    scale_x: float = 1.0
    scale_y: float = 1.0
    size: tuple[int, int] | None = None  # of the image, where it was scaled

    @property
    def is_scaled(self) -> bool:
        return (self.scale_x, self.scale_y) != (1.0, 1.0)

    def scale_points(self, points: Sequence[float]) -> list[float]:
        """Bring ``[x0, y0, x1, y1, ...]`` of the frame (clicks, boxes) into the image sent."""
        return [value * (self.scale_y if i % 2 else self.scale_x) for i, value in enumerate(points)]

    def restore_points(self, points: Sequence[float]) -> list[float]:
        """Bring ``[x0, y0, x1, y1, ...]`` of the answer back into the frame."""
        return [value / (self.scale_y if i % 2 else self.scale_x) for i, value in enumerate(points)]

    def restore_detections(self, answer: Any) -> Any:
        """Bring a detector's answer back into the frame.

        What does not look like an item, or holds what is no number, is left as it is: the answer
        is validated afterwards. Raises `cvat_lambda.annotations.errors.AnswerError` where a mask
        is malformed.
        """
        if not self.is_scaled or not isinstance(answer, list):
            return answer
        return [
            self._restore_item(item, index) if isinstance(item, dict) else item
            for index, item in enumerate(answer)
        ]

    def _restore_item(self, item: Mapping[str, Any], index: int) -> dict[str, Any]:
        restored = self._restore_shape(item, index, "")
        if isinstance(item.get("elements"), list):
            restored["elements"] = [
                self._restore_shape(element, index, f"elements[{number}].")
                if isinstance(element, dict)
                else element
                for number, element in enumerate(item["elements"])
            ]
        return restored

    def _restore_shape(self, shape: Mapping[str, Any], item: int, prefix: str) -> dict[str, Any]:
        restored = dict(shape)
        points = shape.get("points")
        if isinstance(points, list) and all(map(is_number, points)):
            restored["points"] = self.restore_points(points)
        field = next((name for name in ("mask", "rle") if isinstance(shape.get(name), list)), None)
        if field is not None and shape.get("type", "mask") == "mask":
            del restored[field]
            try:
                restored["rle"] = self._restore_mask(field, shape[field])
            except ShapeError as exc:
                raise AnswerError(exc.message, item=item, field=f"{prefix}{field}") from exc
        return restored

    def _restore_mask(self, field: str, mask: Sequence[float]) -> list[int]:
        if field == "mask":
            return self._restore_bitmap(*rle.decode_raw(mask))
        room = rle.room(self.size)
        if self.size is None:  # what it becomes counts, not what it is
            room = int(room * min(1.0, self.scale_x * self.scale_y))
        return self._restore_bitmap(*rle.decode(mask, max_pixels=room))

    def _restore_bitmap(self, bitmap: Any, left: int, top: int) -> list[int]:
        height, width = bitmap.shape
        x0, columns = _spread(left, width, self.scale_x)
        y0, rows = _spread(top, height, self.scale_y)
        return list(rle.encode(bitmap[np.ix_(rows, columns)], x0, y0))


def resize(image: bytes, spec: FunctionSpec) -> ResizedImage:
    """Make an image fit what a function declares; without a declaration it is sent as it is.

    Raises FrameUnreadable where it must be changed and cannot be read.
    """
    if not spec.accepts and spec.max_image_side is None:
        return ResizedImage(data=image)
    try:
        with Image.open(io.BytesIO(image)) as opened:
            return _resize(image, opened, spec)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as exc:
        raise FrameUnreadable(
            f"the frame cannot be read as an image, and function '{spec.id}' does not take it as "
            "it is"
        ) from exc


def _resize(data: bytes, image: Image.Image, spec: FunctionSpec) -> ResizedImage:
    has = Image.MIME.get(image.format or "", "")
    side = spec.max_image_side
    too_large = side is not None and max(image.size) > side
    unknown_type = bool(spec.accepts) and has not in spec.accepts
    too_heavy = JPEG in spec.accepts and len(data) > _room(spec)
    if not (too_large or unknown_type or too_heavy):
        return ResizedImage(data=data)
    target = _target(has, spec, to_jpeg=unknown_type or too_heavy)
    width, height = image.size
    exif = image.info.get("exif")  # holds the orientation, which must not get lost
    if too_large and side is not None:
        image.draft(None, (side, side))  # a JPEG is decoded near its new size
        ratio = side / max(width, height)
        size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
        sent = _plain(image, target).resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    else:
        sent = _plain(image, target)
    return ResizedImage(
        data=_encode(sent, target, exif, _room(spec)),
        scale_x=sent.width / width,
        scale_y=sent.height / height,
        size=sent.size,
    )


def _room(spec: FunctionSpec) -> int:
    """The bytes of an image whose base64 fits into a body."""
    return max(1, (spec.max_body_bytes - _OTHER_FIELDS_BYTES) * 3 // 4)


def _target(has: str, spec: FunctionSpec, *, to_jpeg: bool) -> str:
    """Choose the image type to send."""
    if JPEG in spec.accepts and to_jpeg:
        return JPEG
    if has in _FORMATS and (not spec.accepts or has in spec.accepts):
        return has
    return next((known for known in spec.accepts if known in _FORMATS), "image/png")


def _plain(image: Image.Image, target: str) -> Image.Image:
    """Decode into a mode that every image type has."""
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")
    if image.mode in ("L", "RGB") or (image.mode == "RGBA" and target in ("image/png",)):
        image.load()
        return image
    return image.convert("RGB")


def _encode(image: Image.Image, target: str, exif: bytes | None, room: int) -> bytes:
    options: dict[str, Any] = {"exif": exif} if exif and target != "image/bmp" else {}
    if target not in (JPEG, "image/webp"):
        return _saved(image, target, **options)
    for quality in _QUALITIES:
        data = _saved(image, target, quality=quality, **options)
        if len(data) <= room:
            break
    return data


def _saved(image: Image.Image, target: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, _FORMATS[target], **options)
    return buffer.getvalue()


def _spread(start: int, length: int, scale: float) -> tuple[int, Any]:
    """The pixels of the frame that a run of the image covers, and which pixel each comes from."""
    first = int(np.floor(start / scale))
    last = max(first, int(np.ceil((start + length) / scale)) - 1)
    centres = (np.arange(first, last + 1) + 0.5) * scale
    return first, np.clip(np.floor(centres).astype(int) - start, 0, length - 1)
