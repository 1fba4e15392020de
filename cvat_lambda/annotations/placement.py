"""Where the image that a function saw lies in its frame, and the conversion of coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

Bitmap = npt.NDArray[np.bool_]  # [height, width]

_ROUNDING: Final = 1e-6  # pixels; a border that is off by less lies on a whole pixel


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The scale and the place of an image that was cut out of a frame and resized.

    The point ``(x, y)`` of the image is the point ``(x / scale[0] + offset[0], y / scale[1] +
    offset[1])`` of the frame.
    """

    scale: tuple[float, float] = (1.0, 1.0)  # pixels of the image for one pixel of the frame
    offset: tuple[int, int] = (0, 0)  # x, y of the image's upper left corner in the frame
    size: tuple[int, int] | None = None  # width, height of the image; None: those of the frame

    def __post_init__(self) -> None:
        if self.is_scaled and self.size is None:
            raise ValueError("the placement of a scaled image needs the size of the image")

    @property
    def is_scaled(self) -> bool:
        """Whether the image has another resolution than the frame."""
        return self.scale != (1.0, 1.0)

    def inside(self, region: Placement) -> Placement:
        """Return the placement in the frame of an image that was made of an unscaled region."""
        return replace(self, offset=region.offset, size=self.size or region.size)

    def image_size(self, frame_size: tuple[int, int] | None) -> tuple[int, int] | None:
        """Return the (width, height) of the image, by that of the frame if it has no own."""
        return frame_size if self.size is None else self.size

    def to_image(self, points: Sequence[float]) -> list[float]:
        """Convert ``[x0, y0, x1, y1, ...]`` of the frame to points of the image."""
        moved = [value - self.offset[i % 2] for i, value in enumerate(points)]
        if not self.is_scaled:
            return moved
        return [value * self.scale[i % 2] for i, value in enumerate(moved)]

    def to_frame(self, points: Sequence[float]) -> tuple[float, ...]:
        """Convert ``[x0, y0, x1, y1, ...]`` of the image to points of the frame."""
        if not self.is_scaled and self.offset == (0, 0):
            return tuple(points)
        return tuple(
            value / self.scale[i % 2] + self.offset[i % 2] for i, value in enumerate(points)
        )

    def bitmap_to_frame(self, bitmap: Bitmap, left: int, top: int) -> tuple[Bitmap, int, int]:
        """Convert a bitmap at ``(left, top)`` of the image to one of the frame's resolution.

        Each pixel of the frame gets the value of the pixel of the image under its centre.
        """
        height, width = bitmap.shape
        x0, columns = _resample(left, width, self.scale[0])
        y0, rows = _resample(top, height, self.scale[1])
        # The columns first: the bitmap of the image has fewer rows.
        return bitmap[:, columns][rows], x0 + self.offset[0], y0 + self.offset[1]


WHOLE_FRAME: Final = Placement()


def _resample(start: int, length: int, scale: float) -> tuple[int, npt.NDArray[np.int64]]:
    """Return the first pixel of the frame that a run of the image covers, and the source of each.

    The run begins at ``start`` and is ``length`` pixels long; a source is counted from its start.
    """
    first = math.floor(start / scale + _ROUNDING)
    last = max(first, math.ceil((start + length) / scale - _ROUNDING) - 1)
    centres = (np.arange(first, last + 1) + 0.5) * scale
    return first, np.clip(np.floor(centres).astype(np.int64) - start, 0, length - 1)
