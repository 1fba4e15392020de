"""The image that a function gets in a call: a whole frame or a region of it."""

from __future__ import annotations

from dataclasses import dataclass

from cvat_lambda.annotations.placement import WHOLE_FRAME, Placement
from cvat_lambda.conf import settings
from cvat_lambda.engine.port import Frame
from cvat_lambda.errors import FrameUnreadable
from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.images import decode
from cvat_lambda.images.region import Region, encode_region
from cvat_lambda.images.resize import ResizedImage, resize


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The part of a frame that a function sees."""

    image_size: tuple[int, int]  # width, height of the whole frame in pixels
    region: Region | None = None  # inside the frame; None: all of it

    @classmethod
    def of(cls, image_size: tuple[int, int], region: Region | None) -> View:
        """Return the view of a frame. Raise InvalidRequest if the region lies outside."""
        clipped = None if region is None else region.clip(*image_size)
        return cls(image_size=image_size, region=clipped)

    @property
    def placement(self) -> Placement:
        """The placement of the view in the frame."""
        return WHOLE_FRAME if self.region is None else self.region.placement

    def encode(self, frame: Frame, spec: FunctionSpec, *, keep_size: bool = True) -> ResizedImage:
        """Return the image of the view, of a type that the function takes.

        Raise FrameUnreadable.
        """
        try:
            return encode_region(
                frame.data,
                self.region,
                spec,
                mime=frame.mime,
                jpeg_quality=settings.ROI_JPEG_QUALITY,
                keep_size=keep_size,
            )
        except FrameUnreadable as exc:
            if self.region is None:
                raise
            raise _unreadable(frame) from exc


def encode_frame(frame: Frame, spec: FunctionSpec) -> bytes:
    """Return the image of a whole frame, of a type that the function takes, not scaled.

    Raise FrameUnreadable.
    """
    return resize(frame.data, spec, keep_size=True).data


def image_size(frame: Frame) -> tuple[int, int]:
    """Return width and height of a frame as people see it, in pixels. Raise FrameUnreadable."""
    if frame.width is not None and frame.height is not None:
        return frame.width, frame.height
    try:
        return decode.image_size(frame.data)
    except FrameUnreadable as exc:
        raise _unreadable(frame) from exc


def _unreadable(frame: Frame) -> FrameUnreadable:
    return FrameUnreadable(f"frame {frame.number} cannot be read as an image", frame=frame.number)
