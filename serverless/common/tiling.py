"""Detection in overlapping tiles, which finds objects that are small on the whole image."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from common.boxes import class_nms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]
    Tile = tuple[int, int, int, int]  # left, top, right, bottom in pixels; the last two exclusive

OVERLAP = 0.2  # of neighbouring tiles, as a share of a tile's side
CUT_MARGIN = 0.03  # a box this near to an inner side of its tile counts as cut, share of the side
MAX_IOU = 0.5  # of two boxes of one class from different tiles
MAX_TILES = 8  # per side


@dataclass(frozen=True)
class Detections:
    """The objects found on an image, best first."""

    boxes: NDArray[np.floating]  # (n, 4): x0, y0, x1, y1 in pixels
    scores: NDArray[np.floating]  # (n,) in [0, 1]
    classes: NDArray[np.integer]  # (n,) indices of class names


def tiles_per_side() -> int:
    """Return how many tiles an image is divided into on each side (environment: DETECTOR_TILES)."""
    setting = os.environ.get("DETECTOR_TILES") or "1"
    if not setting.isdecimal() or not 1 <= int(setting) <= MAX_TILES:
        raise ValueError(f"DETECTOR_TILES is {setting!r}; use a number from 1 to {MAX_TILES}")
    return int(setting)


def detect_in_tiles(
    image: Image, detect: Callable[[Image], Detections], *, per_side: int
) -> Detections:
    """Run a detector on the whole image and, if ``per_side`` > 1, on its tiles as well.

    A box that an inner side of a tile cuts is dropped: the neighbouring tile or the whole image
    shows the whole object. Of boxes that overlap, the best is kept.
    """
    found = [detect(image)]
    if per_side == 1:
        return found[0]
    height, width = image.shape[:2]
    for tile in tiles(width, height, per_side):
        left, top, right, bottom = tile
        part = detect(np.ascontiguousarray(image[top:bottom, left:right]))
        boxes = part.boxes + np.array([left, top, left, top])
        whole = ~_is_cut(boxes, tile, width=width, height=height)
        found.append(Detections(boxes[whole], part.scores[whole], part.classes[whole]))
    boxes = np.concatenate([each.boxes for each in found])
    scores = np.concatenate([each.scores for each in found])
    classes = np.concatenate([each.classes for each in found])
    kept = class_nms(boxes, scores, classes, max_iou=MAX_IOU)
    return Detections(boxes[kept], scores[kept], classes[kept])


def tiles(width: int, height: int, per_side: int) -> Iterator[Tile]:
    """Yield the tiles of an image, row by row; neighbours overlap."""
    covered = per_side - (per_side - 1) * OVERLAP  # an image's side in sides of a tile
    across, down = width / covered, height / covered
    for row in range(per_side):
        for column in range(per_side):
            left, top = column * across * (1 - OVERLAP), row * down * (1 - OVERLAP)
            right, bottom = math.ceil(left + across), math.ceil(top + down)
            yield int(left), int(top), min(right, width), min(bottom, height)


def _is_cut(
    boxes: NDArray[np.floating], tile: Tile, *, width: int, height: int
) -> NDArray[np.bool_]:
    left, top, right, bottom = tile
    x, y = CUT_MARGIN * (right - left), CUT_MARGIN * (bottom - top)
    return np.asarray(
        ((boxes[:, 0] < left + x) & (left > 0))
        | ((boxes[:, 1] < top + y) & (top > 0))
        | ((boxes[:, 2] > right - x) & (right < width))
        | ((boxes[:, 3] > bottom - y) & (bottom < height))
    )
