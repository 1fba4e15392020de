"""Region of interest of a call: a crop is sent, results come back in image coordinates.

``[left, top, right, bottom]`` in pixels of the frame; right and bottom are exclusive, as in
Pillow's ``Image.crop`` and in ``roi`` of cvat-sdk 2.80.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageOps, UnidentifiedImageError

from cvat_lambda.conf import settings
from cvat_lambda.engine.port import Frame
from cvat_lambda.errors import FrameUnreadable, InvalidRequest

JPEG, PNG = "image/jpeg", "image/png"
_PNG_MODES = ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA")


@dataclass(frozen=True, slots=True, kw_only=True)
class Roi:
    """A rectangle of whole pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def parse(cls, values: Sequence[int]) -> Roi:
        """``[xtl, ytl, xbr, ybr]``. Raise InvalidRequest if it encloses no pixel."""
        left, top, right, bottom = values
        if left >= right or top >= bottom:
            raise InvalidRequest(
                f"roi [{left}, {top}, {right}, {bottom}] is empty:"
                " it is [xtl, ytl, xbr, ybr] with xtl < xbr and ytl < ybr"
            )
        return cls(left=left, top=top, right=right, bottom=bottom)

    @property
    def offset(self) -> tuple[int, int]:
        """Where the crop's pixel (0, 0) lies in the image."""
        return self.left, self.top

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.right - self.left, self.bottom - self.top

    def within(self, width: int, height: int) -> Roi:
        """The part inside an image. Raise InvalidRequest if there is none."""
        clipped = Roi(
            left=max(self.left, 0),
            top=max(self.top, 0),
            right=min(self.right, width),
            bottom=min(self.bottom, height),
        )
        if clipped.left >= clipped.right or clipped.top >= clipped.bottom:
            raise InvalidRequest(
                f"roi [{self.left}, {self.top}, {self.right}, {self.bottom}] lies outside"
                f" the image of {width} x {height} pixels"
            )
        return clipped

    def into(self, points: Iterable[Sequence[float]]) -> list[list[float]]:
        """Points of the image as points of the crop."""
        return [[x - self.left, y - self.top] for x, y in points]


def image_size(frame: Frame) -> tuple[int, int]:
    """Width and height of a frame as annotators see it, in pixels. Raise FrameUnreadable."""
    if frame.width is not None and frame.height is not None:
        return frame.width, frame.height
    with _opened(frame) as image:
        width, height = image.size
        if image.format == "PNG" and b"eXIf" not in frame.data:
            return width, height  # to look for EXIF, Pillow would decode all of it
        # 5-8 are the EXIF orientations that lay the image on its side.
        sideways = image.getexif().get(0x0112, 1) >= 5
    return (height, width) if sideways else (width, height)


def crop(frame: Frame, roi: Roi, *, accepts: Sequence[str] = ()) -> Frame:
    """The part of a frame inside ``roi`` (which lies within it), encoded anew.

    A JPEG stays a JPEG (``CVAT_LAMBDA_ROI_JPEG_QUALITY``), everything else becomes a PNG without
    loss, unless the function declares that it takes only the other. Raise FrameUnreadable.
    """
    with _opened(frame) as image:
        try:
            part = ImageOps.exif_transpose(image).crop((roi.left, roi.top, roi.right, roi.bottom))
        except (OSError, SyntaxError, ValueError) as exc:
            raise _unreadable(frame) from exc
    mime = JPEG if frame.mime == JPEG else PNG
    if accepts and mime not in accepts and (JPEG in accepts or PNG in accepts):
        mime = JPEG if JPEG in accepts else PNG
    width, height = roi.size
    return Frame(
        number=frame.number,
        data=_encode(part, mime),
        mime=mime,
        name=frame.name,
        width=width,
        height=height,
    )


def _encode(image: Image.Image, mime: str) -> bytes:
    buffer = io.BytesIO()
    if mime == JPEG:
        rgb = image if image.mode in ("L", "RGB") else image.convert("RGB")
        rgb.save(buffer, "JPEG", quality=settings.ROI_JPEG_QUALITY)
    else:
        known = image if image.mode in _PNG_MODES else image.convert("RGB")
        known.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _opened(frame: Frame) -> Image.Image:
    try:
        return Image.open(io.BytesIO(frame.data))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as exc:
        raise _unreadable(frame) from exc


def _unreadable(frame: Frame) -> FrameUnreadable:
    return FrameUnreadable(f"frame {frame.number} cannot be read as an image", frame=frame.number)
