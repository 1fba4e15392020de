"""Masks: bounding boxes, CVAT's mask format, polygons.

A mask is a boolean array of shape (height, width); a pixel's coordinates are those of its centre.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from common import binary
from common.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

Place = tuple[int, int]  # x, y of a part's first pixel in the image
NOTHING = np.zeros((1, 1), dtype=bool)  # an empty mask
PIXELS_AT_ONCE = 1_000_000  # bounds the memory of `paste`


def bounds(mask: Mask) -> tuple[int, int, int, int] | None:
    """Return the inclusive box (left, top, right, bottom) of a mask, or None when it is empty."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    return (left, top, left + width - 1, top + height - 1) if width else None


def crop(mask: Mask) -> tuple[Mask, Place] | None:
    """Return the part of a mask inside its `bounds` and its place, or None when it is empty."""
    box = bounds(mask)
    if box is None:
        return None
    left, top, right, bottom = box
    return mask[top : bottom + 1, left : right + 1], (left, top)


def paste(
    probabilities: NDArray[np.floating],
    box: NDArray[np.floating],
    *,
    width: int,
    height: int,
    threshold: float = 0.5,
) -> tuple[Mask, Place]:
    """Return the mask of a probability map that covers ``box`` (x0, y0, x1, y1), and its place.

    The mask covers the part of the box that lies in the image of ``width`` x ``height``. The map is
    stretched over the box. A pixel is true when its centre lies in the box and the map's bilinear
    value there is above ``threshold``.
    """
    left, top = np.maximum(np.floor(box[:2]), 0).astype(int)
    right = min(int(np.ceil(box[2])), width)
    bottom = min(int(np.ceil(box[3])), height)
    if right <= left or bottom <= top:
        return NOTHING, (0, 0)
    rows, columns = probabilities.shape
    x = (np.arange(left, right) + 0.5 - box[0]) / max(box[2] - box[0], 1e-6)
    y = (np.arange(top, bottom) + 0.5 - box[1]) / max(box[3] - box[1], 1e-6)
    mask = np.empty((len(y), len(x)), dtype=bool)
    step = max(1, PIXELS_AT_ONCE // len(x))  # a box may be as large as the image
    for first in range(0, len(y), step):
        some = slice(first, first + step)
        mask[some] = _bilinear(probabilities, y[some] * rows - 0.5, x * columns - 0.5) > threshold
    inside = ((y >= 0) & (y <= 1))[:, None] & ((x >= 0) & (x <= 1))[None, :]
    return mask & inside, (int(left), int(top))


def cvat_mask(mask: Mask, *, at: Place = (0, 0)) -> list[int] | None:
    """Return CVAT's mask list: the 0/1 bitmap of the bounding box by rows, then the inclusive box.

    The result is None for an empty mask, which CVAT cannot store. ``mask`` is a part of the image;
    ``at`` is its place.
    """
    cropped = crop(mask)
    if cropped is None:
        return None
    part, place = cropped
    return [*part.astype(np.uint8).ravel().tolist(), *_box(part, place, at)]


def run_lengths(mask: Mask, *, at: Place = (0, 0)) -> list[int] | None:
    """Return a mask as CVAT stores it: run lengths row by row, zeros first, then its inclusive box.

    The result is None for an empty mask. ``mask`` is a part of the image; ``at`` is its place.
    """
    cropped = crop(mask)
    if cropped is None:
        return None
    part, place = cropped
    flat = part.ravel()
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs: list[int] = np.diff(ends, prepend=0, append=flat.size).tolist()
    return [*([0] if flat[0] else []), *runs, *_box(part, place, at)]


def read_run_lengths(sent: object, *, name: str, width: int, height: int) -> Mask:
    """Return the mask of `run_lengths` in an image of ``width`` x ``height``.

    Pixels beyond the image are dropped. Raises BadInput, naming ``name``, when it is damaged.
    """
    values = sent if isinstance(sent, list) else []
    if len(values) < 5 or not all(_is_whole(value) for value in values):
        raise BadInput(f"'{name}' is not a mask: run lengths and a box")
    *runs, left, top, right, bottom = (int(value) for value in values)
    sides = (bottom - top + 1, right - left + 1)
    limit = max(4 * width * height, 65536)  # a few bytes may announce a huge box
    if min(sides) < 1 or min(runs) < 0 or sum(runs) != sides[0] * sides[1] or sum(runs) > limit:
        raise BadInput(f"'{name}' has run lengths that do not fit its box")
    part = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(sides)
    mask = np.zeros((height, width), dtype=bool)
    row, column = max(top, 0), max(left, 0)
    inside = part[row - top : max(0, height - top), column - left : max(0, width - left)]
    mask[row : row + inside.shape[0], column : column + inside.shape[1]] = inside
    return mask


def mask_item(
    label: str, mask: Mask, confidence: float, *, at: Place = (0, 0)
) -> dict[str, Any] | None:
    """Return a detector's item of type mask with its polygon, or None for an empty mask.

    ``mask`` is a part of the image and ``at`` its place, so that small objects cost little.
    """
    pixels = mask_members(mask, at=at)
    if pixels is None:
        return None
    points = polygon(mask, at=at)
    return {
        "label": label,
        "type": "mask",
        **pixels,
        "points": [coordinate for point in points for coordinate in point],
        "confidence": round(float(confidence), 4),
    }


def mask_members(mask: Mask, *, at: Place = (0, 0)) -> dict[str, list[int]] | None:
    """Return the pixels of an item of type mask: as ``rle`` if the caller accepts run lengths.

    Otherwise ``mask`` holds CVAT's mask list. The result is None for an empty mask.
    """
    if not binary.is_accepted():
        flat = cvat_mask(mask, at=at)
        return None if flat is None else {"mask": flat}
    runs = run_lengths(mask, at=at)
    return None if runs is None else {"rle": runs}


def interactor_answer(mask: Mask, *, at: Place = (0, 0)) -> dict[str, Any]:
    """Return an interactor's answer: the mask in its bounds as rows of 0 and 255, and its polygon.

    A caller that accepts run lengths gets ``rle`` instead of rows and bounds. An empty mask is
    answered by one pixel of value 0 without points. CVAT's canvas then draws nothing; it fails when
    the mask has no rows or ``points`` is missing. ``mask`` is a part of the image and ``at`` its
    place.
    """
    cropped = crop(mask)
    if cropped is None:
        return {"mask": [[0]], "bounds": [0, 0, 0, 0], "points": []}
    part, place = cropped
    if binary.is_accepted():
        return {"rle": run_lengths(mask, at=at), "points": polygon(mask, at=at)}
    rows = part.astype(np.uint8) * np.uint8(255)
    return {
        "mask": rows.tolist(),
        "bounds": _box(part, place, at),
        "points": polygon(mask, at=at),
    }


def polygon(mask: Mask, *, tolerance: float = 1.0, at: Place = (0, 0)) -> list[list[float]]:
    """Return the outline of the largest region as [[x, y], ...] with at least three points.

    The pixels of a region touch by side or corner, and its holes count as its pixels. The outline
    is simplified: no border pixel is farther than ``tolerance`` pixels from it. A region without an
    area (a dot, a line) is answered by its bounding box, enlarged by half a pixel on each side.
    ``mask`` is a part of the image and ``at`` its place.
    """
    borders, _ = cv2.findContours(
        mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=at
    )
    if not borders:
        return []
    border = max(borders, key=_enclosed_pixels)
    points = cv2.approxPolyDP(border, tolerance, closed=True)[:, 0].tolist()
    if len(points) >= 3:
        return [[float(x), float(y)] for x, y in points]
    x, y, width, height = cv2.boundingRect(border)
    left, top, right, bottom = x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def _is_whole(value: object) -> bool:
    return isinstance(value, (int, float)) and abs(value) < 2**31 and value == int(value)


def _enclosed_pixels(border: NDArray[Any]) -> float:
    """Return how many pixels a border encloses, its own included (Pick's theorem)."""
    return float(cv2.contourArea(border)) + len(border) / 2 + 1


def _box(part: Mask, place: Place, at: Place) -> list[int]:
    """Return the inclusive box of a part in the image; ``place`` is relative to ``at``."""
    left, top = place[0] + at[0], place[1] + at[1]
    return [left, top, left + part.shape[1] - 1, top + part.shape[0] - 1]


def _bilinear(
    values: NDArray[np.floating], y: NDArray[np.floating], x: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Return values at the grid of fractional rows ``y`` and columns ``x``, edges repeated."""
    rows, columns = values.shape
    y = np.clip(y, 0, rows - 1)
    x = np.clip(x, 0, columns - 1)
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    bottom, right = np.minimum(top + 1, rows - 1), np.minimum(left + 1, columns - 1)
    down, across = (y - top)[:, None], (x - left)[None, :]
    # Rows first: the values have few columns, so the intermediate array is small.
    lines = values[top] * (1 - down) + values[bottom] * down
    return np.asarray(lines[:, left] * (1 - across) + lines[:, right] * across)
