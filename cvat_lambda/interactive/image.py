"""What a function sees of a frame: all of it or a region, and how the two coordinates relate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from cvat_lambda.engine.port import Frame
from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.images.resize import resize
from cvat_lambda.interactive.roi import Roi, crop


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The part of a frame that a function sees. Sizes are (width, height) in pixels."""

    image_size: tuple[int, int]  # of the whole frame
    roi: Roi | None = None  # inside the frame; None: all of it

    @classmethod
    def of(cls, image_size: tuple[int, int], roi: Roi | None) -> View:
        """The view of a frame. Raise InvalidRequest if the region lies outside."""
        return cls(image_size=image_size, roi=None if roi is None else roi.within(*image_size))

    @property
    def offset(self) -> tuple[int, int]:
        """Where the view's pixel (0, 0) lies in the frame."""
        return (0, 0) if self.roi is None else self.roi.offset

    @property
    def roi_size(self) -> tuple[int, int] | None:
        """The size of the region; None if there is none."""
        return None if self.roi is None else self.roi.size

    def into(self, points: Iterable[Sequence[float]]) -> list[list[float]]:
        """Points of the frame as points of the view."""
        if self.roi is None:
            return [list(point) for point in points]
        return self.roi.into(points)

    def data(self, frame: Frame, spec: FunctionSpec) -> bytes:
        """The encoded view, of a type that the function takes. Raise FrameUnreadable."""
        return full_size(
            frame if self.roi is None else crop(frame, self.roi, accepts=spec.accepts), spec
        )


def full_size(frame: Frame, spec: FunctionSpec) -> bytes:
    """The encoded frame, of a type that the function takes, not scaled. Raise FrameUnreadable."""
    return resize(frame.data, replace(spec, max_image_side=None)).data
