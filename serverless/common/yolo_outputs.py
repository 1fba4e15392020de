"""Outputs of the networks of the YOLO family, as candidates for objects.

Names of tasks are those of Ultralytics: detect, segment, pose, obb, classify.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from common.boxes import class_nms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]
    Indices = NDArray[np.intp]

MAX_CANDIDATES = 3000  # that take part in the suppression; bounds its time at a threshold of 0
MAX_OBJECTS = 300  # on one image
MAX_IOU = 0.7  # of two boxes of one class; the default of Ultralytics
_STRIDES = (8, 16, 32, 64)  # network pixels a cell; the last one is only in large networks
_ANCHORS = 3  # for each cell, in networks with a score for "object"


class Layout(Enum):
    """How a network writes its candidates. ``extra`` is what the task adds to each candidate."""

    # (4 + classes + extra, candidates): centre, size, a score a class. YOLOv8, 9, 11, 12
    BY_CHANNEL = "by channel"
    # (candidates, 5 + classes + extra): centre, size, score of an object, a score a class. YOLOv5
    WITH_OBJECTNESS = "with objectness"
    # (objects, 6 + extra): corners, score, class. YOLOv10, 26, and all exported with nms=True
    SUPPRESSED = "suppressed"
    # (objects of all images, 7): number of the image, corners, class, score. YOLOv7 --end2end
    NUMBERED = "numbered"


@dataclass(frozen=True)
class Head:
    """What is known of a network's output beforehand."""

    classes: int
    extra: int  # numbers a candidate beside box and scores: mask coefficients, keypoints, angle
    rotated: bool = False  # boxes are centre and size, and ``extra`` is the angle in radians


@dataclass(frozen=True)
class Candidates:
    """Possible objects, in network pixels."""

    boxes: Floats  # (n, 4): x0, y0, x1, y1; rotated boxes: centre x, centre y, width, height
    scores: Floats  # (n,)
    classes: NDArray[np.integer]  # (n,)
    extras: Floats  # (n, extra)

    def take(self, indices: Indices) -> Candidates:
        """Return the candidates at ``indices``, in their order."""
        return Candidates(
            self.boxes[indices], self.scores[indices], self.classes[indices], self.extras[indices]
        )


def find_layout(shape: tuple[int, ...], head: Head, *, width: int, height: int) -> Layout:
    """Return the layout of an output of ``shape``, for an input of ``width`` x ``height`` pixels.

    Raises ValueError, with the possible shapes, when it has none of the layouts.
    """
    if len(shape) == 2 and shape[1] == 7:
        return Layout.NUMBERED
    if len(shape) == 3:
        _, rows, columns = shape
        width_of = {
            Layout.WITH_OBJECTNESS: 5 + head.classes + head.extra,
            Layout.SUPPRESSED: 6 + head.extra,
        }
        if rows == 4 + head.classes + head.extra and columns not in width_of.values():
            return Layout.BY_CHANNEL
        fitting = [layout for layout, count in width_of.items() if columns == count]
        if len(fitting) == 2 and rows not in _anchor_counts(width, height):
            fitting.remove(Layout.WITH_OBJECTNESS)  # one class: both have six columns
        if fitting:
            return fitting[0]
    channels = 4 + head.classes + head.extra
    raise ValueError(
        f"the network's output has the shape {list(shape)}; with {head.classes} classes it must be "
        f"[1, {channels}, n], [1, n, {channels + 1}] or [1, n, {6 + head.extra}]. Are the number "
        "of labels and the task right?"
    )


def read_candidates(output: Floats, layout: Layout, head: Head, threshold: float) -> Candidates:
    """Return the candidates of one image with a score of at least ``threshold``.

    ``output`` has two dimensions. The classes of a candidate compete: the best one is kept.
    """
    table = np.asarray(output, dtype=np.float32)
    if layout is Layout.NUMBERED:
        boxes, classes, scores = table[:, 1:5], table[:, 5], table[:, 6]
        extras = table[:, 7:]
    elif layout is Layout.SUPPRESSED:
        boxes, scores, classes, extras = table[:, :4], table[:, 4], table[:, 5], table[:, 6:]
    else:
        table = table.T if layout is Layout.BY_CHANNEL else table
        first = 4 if layout is Layout.BY_CHANNEL else 5
        boxes, extras = table[:, :4], table[:, first + head.classes :]
        each = table[:, first : first + head.classes]
        classes = each.argmax(axis=1)
        scores = each[np.arange(len(each)), classes]
        if layout is Layout.WITH_OBJECTNESS:
            scores = scores * table[:, 4]
    kinds = classes.astype(np.intp)
    kept = np.flatnonzero((scores >= threshold) & (kinds >= 0) & (kinds < head.classes))
    found = Candidates(boxes, scores, kinds, extras).take(kept)
    if head.rotated or layout in (Layout.NUMBERED, Layout.SUPPRESSED):
        return found
    return Candidates(_corners(found.boxes), found.scores, found.classes, found.extras)


def choose(found: Candidates, layout: Layout, head: Head) -> Candidates:
    """Return the objects among candidates, best first, by non-maximum suppression where needed."""
    order = np.argsort(-found.scores, kind="stable")
    if layout in (Layout.NUMBERED, Layout.SUPPRESSED):
        return found.take(order[:MAX_OBJECTS])
    best = found.take(order[:MAX_CANDIDATES])
    if head.rotated:
        rotated = np.concatenate([best.boxes, best.extras[:, :1]], axis=1)
        kept = rotated_nms(rotated, best.scores, best.classes, max_iou=MAX_IOU)
    else:
        kept = class_nms(best.boxes, best.scores, best.classes, max_iou=MAX_IOU)
    return best.take(kept[:MAX_OBJECTS])


def rotated_nms(
    boxes: Floats, scores: Floats, classes: NDArray[np.integer], *, max_iou: float
) -> Indices:
    """Return the indices of rotated boxes kept by suppression within each class, best first.

    ``boxes`` has centre x, centre y, width, height and angle in radians.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(int(best))
        alike = (rotated_iou(boxes[best], boxes[order]) > max_iou) & (
            classes[order] == classes[best]
        )
        order = order[~alike]
    return np.array(kept, dtype=np.intp)


def rotated_iou(box: Floats, others: Floats) -> Floats:
    """Return how much a rotated box and others overlap, 0 to 1, as 1 - their Hellinger distance.

    The boxes are taken as normal distributions with their centres and second moments (ProbIoU,
    Llerena et al. 2021, arXiv 2106.06072).
    """
    x, y, (a, b, c) = box[0] - others[:, 0], box[1] - others[:, 1], _covariances(box[None])
    a2, b2, c2 = _covariances(others)
    determinant = a * b - c**2
    determinants = a2 * b2 - c2**2
    a, b, c = a + a2, b + b2, c + c2
    shared = np.maximum(a * b - c**2, 1e-7)
    distance = (a * y**2 + b * x**2 - 2 * c * x * y) / shared / 4
    distance += 0.5 * np.log(
        shared / (4 * np.sqrt(np.maximum(determinant * determinants, 0)) + 1e-7) + 1e-7
    )
    return np.asarray(1 - np.sqrt(1 - np.exp(-np.clip(distance, 1e-7, 100)) + 1e-7))


def _covariances(boxes: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the second moments of rotated boxes: of x, of y, and of both."""
    width, height = boxes[:, 2] ** 2 / 12, boxes[:, 3] ** 2 / 12
    cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    return (
        width * cos**2 + height * sin**2,
        width * sin**2 + height * cos**2,
        (width - height) * cos * sin,
    )


def _corners(boxes: Floats) -> Floats:
    """Turn centre and size into the corners x0, y0, x1, y1."""
    half = boxes[:, 2:4] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def _anchor_counts(width: int, height: int) -> set[int]:
    """Return how many candidates a network with three anchors a cell has, with 3 or 4 scales."""
    cells = [(width // stride) * (height // stride) for stride in _STRIDES]
    return {_ANCHORS * sum(cells[:3]), _ANCHORS * sum(cells)}
