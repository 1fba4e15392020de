"""Boxes as arrays of shape (n, 4): x0, y0, x1, y1 in pixels, x1 >= x0 and y1 >= y0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from common.images import resize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]
    Indices = NDArray[np.intp]


class Resize(Protocol):
    """Resizes an RGB image to ``width`` x ``height`` pixels."""

    def __call__(
        self, image: NDArray[np.uint8], /, *, width: int, height: int
    ) -> NDArray[np.uint8]:
        """Return the resized image."""


def area(boxes: Floats) -> Floats:
    """Return the area of each box in square pixels; an inverted box has none."""
    sides = np.clip(boxes[..., 2:4] - boxes[..., 0:2], 0.0, None)
    return np.asarray(sides[..., 0] * sides[..., 1])


def iou(first: Floats, second: Floats) -> Floats:
    """Return the intersection over union of each pair, shape (len(first), len(second)).

    The IoU of two boxes without an area is 0.
    """
    top_left = np.maximum(first[:, None, :2], second[None, :, :2])
    bottom_right = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.clip(bottom_right - top_left, 0.0, None)
    shared = sides[..., 0] * sides[..., 1]
    union = area(first)[:, None] + area(second)[None, :] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def nms(boxes: Floats, scores: Floats, *, max_iou: float) -> Indices:
    """Return the indices kept by greedy non-maximum suppression, best score first.

    A box is dropped when its IoU with a better one is greater than ``max_iou``. Boxes with equal
    scores keep their order, so the result is the same on every machine.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(int(best))
        order = order[iou(boxes[best : best + 1], boxes[order])[0] <= max_iou]
    return np.array(kept, dtype=np.intp)


def class_nms(
    boxes: Floats, scores: Floats, classes: NDArray[np.integer], *, max_iou: float
) -> Indices:
    """Return the indices kept by `nms` within each class, best score first over all classes."""
    kept = [
        members[nms(boxes[members], scores[members], max_iou=max_iou)]
        for members in (np.flatnonzero(classes == value) for value in np.unique(classes))
    ]
    if not kept:
        return np.array([], dtype=np.intp)
    chosen = np.concatenate(kept)
    return chosen[np.argsort(-scores[chosen], kind="stable")]


def clip(boxes: Floats, *, width: float, height: float) -> Floats:
    """Return the boxes cut at the image's borders (0..width, 0..height)."""
    limits = np.array([width, height, width, height], dtype=np.float64)
    return np.asarray(np.clip(boxes, 0.0, limits))


def square(box: Floats, *, scale: float) -> tuple[float, float, float, float]:
    """Return the square around the box's centre whose side is ``scale`` times its longer side."""
    centre_x, centre_y = float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2
    half = scale * max(float(box[2] - box[0]), float(box[3] - box[1])) / 2
    return centre_x - half, centre_y - half, centre_x + half, centre_y + half


@dataclass(frozen=True)
class Letterbox:
    """The position of an image inside a network's fixed input: scaled, then padded.

    The scaled sides are whole pixels, so the ratios of the two sides differ a little.
    """

    ratio_x: float  # network pixels an image pixel
    ratio_y: float
    left: int  # padding in network pixels
    top: int
    width: int  # of the original image, pixels
    height: int

    def undo(self, boxes: Floats) -> Floats:
        """Map boxes from network pixels to image pixels and cut them at the image's borders."""
        return clip(self.undo_points(boxes), width=self.width, height=self.height)

    def undo_points(self, points: Floats) -> Floats:
        """Map x, y, x, y, ... in network pixels to image pixels."""
        pairs = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        shift, ratios = np.array([self.left, self.top]), np.array([self.ratio_x, self.ratio_y])
        return np.asarray(((pairs - shift) / ratios).reshape(np.shape(points)))


def letterbox(
    image: NDArray[np.uint8],
    *,
    width: int,
    height: int,
    fill: int = 114,
    centre: bool = True,
    scale: Resize = resize,
) -> tuple[NDArray[np.uint8], Letterbox]:
    """Scale an RGB image into ``width`` x ``height`` with its proportions; pad with ``fill``."""
    source_height, source_width = image.shape[:2]
    ratio = min(width / source_width, height / source_height)
    scaled_width = max(1, min(width, round(source_width * ratio)))
    scaled_height = max(1, min(height, round(source_height * ratio)))
    left = (width - scaled_width) // 2 if centre else 0
    top = (height - scaled_height) // 2 if centre else 0
    canvas = np.full((height, width, 3), fill, dtype=np.uint8)
    canvas[top : top + scaled_height, left : left + scaled_width] = scale(
        image, width=scaled_width, height=scaled_height
    )
    return canvas, Letterbox(
        ratio_x=scaled_width / source_width,
        ratio_y=scaled_height / source_height,
        left=left,
        top=top,
        width=source_width,
        height=source_height,
    )
