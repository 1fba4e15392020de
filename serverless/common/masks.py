"""Masks: bounding boxes, CVAT's mask items, connected regions, polygons.

A mask is a boolean array of shape (height, width); a pixel's coordinates are those of its centre.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from common.images import resize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

Place = tuple[int, int]  # x, y of a part's first pixel in the picture
NOTHING = np.zeros((1, 1), dtype=bool)  # a mask without a pixel
_PIXELS_AT_ONCE = 1_000_000  # bounds the memory of what is pasted

# The eight neighbours in clockwise order (y down), as (dy, dx), starting in the west.
_RING = ((0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1))


def bounds(mask: Mask) -> tuple[int, int, int, int] | None:
    """Return the inclusive box (left, top, right, bottom) of the true pixels; None without any."""
    columns = np.flatnonzero(mask.any(axis=0))
    rows = np.flatnonzero(mask.any(axis=1))
    if not columns.size:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def crop(mask: Mask) -> tuple[Mask, Place] | None:
    """Return the part of a mask that holds its true pixels, and its place; None without any."""
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
    """Return the mask of a small probability map that covers ``box`` (x0, y0, x1, y1).

    The mask is of the box alone, cut at the picture of ``width`` x ``height``; with it comes its
    place. Each pixel whose centre lies in the box takes the map's bilinear value there, the map's
    cells being spread evenly over the box.
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
    step = max(1, _PIXELS_AT_ONCE // len(x))  # a box may be as large as the largest picture
    for first in range(0, len(y), step):
        some = slice(first, first + step)
        mask[some] = _bilinear(probabilities, y[some] * rows - 0.5, x * columns - 0.5) > threshold
    inside = ((y >= 0) & (y <= 1))[:, None] & ((x >= 0) & (x <= 1))[None, :]
    return mask & inside, (int(left), int(top))


def cvat_mask(mask: Mask, *, at: Place = (0, 0)) -> list[int] | None:
    """Return CVAT's mask list: the row-major 0/1 bitmap of the inclusive box, then the box itself.

    None for a mask without a pixel, since CVAT cannot hold it. ``mask`` is the part of the picture
    at ``at``.
    """
    cropped = crop(mask)
    if cropped is None:
        return None
    part, place = cropped
    return [*part.astype(np.uint8).ravel().tolist(), *_box(part, place, at)]


def mask_item(
    label: str, mask: Mask, confidence: float, *, at: Place = (0, 0)
) -> dict[str, Any] | None:
    """Return a detector's item of type mask with its polygon; None for a mask without a pixel.

    ``mask`` is the part of the picture at ``at``: a small object on a big picture costs little.
    """
    flat = cvat_mask(mask, at=at)
    if flat is None:
        return None
    outline = polygon(mask, at=at)
    return {
        "label": label,
        "type": "mask",
        "mask": flat,
        "points": [coordinate for point in outline for coordinate in point],
        "confidence": round(float(confidence), 4),
    }


def interactor_answer(mask: Mask, *, at: Place = (0, 0)) -> dict[str, Any]:
    """Return an interactor's answer for the mask: its crop as rows of 0/255, bounds, polygon.

    A mask without a pixel is answered as one pixel of nothing with no points: CVAT's canvas then
    draws nothing, whereas a list without rows or a missing ``points`` makes it fail. ``mask`` is
    the part of the picture at ``at``.
    """
    cropped = crop(mask)
    if cropped is None:
        return {"mask": [[0]], "bounds": [0, 0, 0, 0], "points": []}
    part, place = cropped
    rows = part.astype(np.uint8) * np.uint8(255)
    return {
        "mask": rows.tolist(),
        "bounds": _box(part, place, at),
        "points": polygon(mask, at=at),
    }


def polygon(mask: Mask, *, tolerance: float = 1.0, at: Place = (0, 0)) -> list[list[float]]:
    """Return the outline of the largest region as [[x, y], ...] with at least three points.

    Points farther than ``tolerance`` pixels from the simplified line are kept. A region too thin
    for an outline (a dot, a line) is answered by its box, half a pixel wide on each side. ``mask``
    is the part of the picture at ``at``.
    """
    cropped = crop(mask)
    if cropped is None:
        return []
    part, place = cropped  # all that follows takes time by the pixel
    region = largest_region(part)
    dx, dy = place[0] + at[0], place[1] + at[1]
    outline = simplify(trace(region), tolerance=tolerance)
    if len(outline) >= 3:
        return [[float(x + dx), float(y + dy)] for x, y in outline]
    ends = bounds(region)
    assert ends is not None, "a mask with a pixel has a region"
    left, top = ends[0] + dx - 0.5, ends[1] + dy - 0.5
    right, bottom = ends[2] + dx + 0.5, ends[3] + dy + 0.5
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def largest_region(mask: Mask) -> Mask:
    """Return only the largest region (pixels touch by side or corner); the first of equals."""
    regions = label_regions(mask)
    sizes = np.bincount(regions.ravel())
    if sizes.size < 2:
        return np.zeros_like(mask)
    return np.asarray(regions == 1 + int(sizes[1:].argmax()))


def label_regions(mask: Mask) -> NDArray[np.int32]:
    """Number the regions from 1, in reading order; 0 outside. Pixels touch by side or corner.

    Rows are cut into runs, and runs that touch the row above are united (union-find).
    """
    starts, ends, rows = _runs(mask)
    parents = np.arange(len(starts))
    first_of_row = np.searchsorted(rows, np.arange(mask.shape[0] + 1))
    for row in range(1, mask.shape[0]):
        above, above_end = first_of_row[row - 1], first_of_row[row]
        for run in range(first_of_row[row], first_of_row[row + 1]):
            # Runs ending before this one starts (corners count) can touch no later run either.
            while above < above_end and ends[above] < starts[run]:
                above += 1
            touching = above
            while touching < above_end and starts[touching] <= ends[run]:
                _unite(parents, int(touching), int(run))
                touching += 1
    roots = np.array([_root(parents, run) for run in range(len(starts))], dtype=np.int64)
    _, numbers = np.unique(roots, return_inverse=True)
    regions = np.zeros(mask.shape, dtype=np.int32)
    for start, end, row, number in zip(starts, ends, rows, numbers, strict=True):
        regions[row, start:end] = number + 1
    return regions


def trace(region: Mask) -> NDArray[np.int64]:
    """Return the outer border of one region as pixel centres (x, y), clockwise, shape (n, 2).

    Moore's neighbour tracing, ended when the first step is about to be taken again (Jacob).
    """
    padded = np.pad(region, 1)
    first = int(padded.argmax())
    start = first // padded.shape[1], first % padded.shape[1]
    border: list[tuple[int, int]] = [start]
    step = _next_step(padded, start, 0)
    if step is None:
        return np.array([[start[1] - 1, start[0] - 1]], dtype=np.int64)
    first_step, position = step, start
    while True:
        position = position[0] + _RING[step][0], position[1] + _RING[step][1]
        # Look again from the empty neighbour that was seen last: two or three steps back.
        following = _next_step(padded, position, (step + 6 - step % 2) % 8)
        assert following is not None, "a traced pixel has at least the neighbour it came from"
        if position == start and following == first_step:
            break
        border.append(position)
        step = following
    return np.array(border, dtype=np.int64)[:, ::-1] - 1


def simplify(outline: NDArray[np.integer], *, tolerance: float) -> NDArray[np.integer]:
    """Return the closed outline with fewer points (Ramer, Douglas and Peucker)."""
    if len(outline) < 4:
        return outline
    # A closed line is cut in two at its first point and at the point farthest from it.
    far = int(((outline - outline[0]) ** 2).sum(axis=1).argmax())
    if far == 0:
        return outline[:1]
    closed = np.concatenate([outline, outline[:1]])
    kept = np.zeros(len(closed), dtype=bool)
    kept[[0, far]] = True
    pending = [(0, far), (far, len(outline))]
    while pending:
        first, last = pending.pop()
        if last - first < 2:
            continue
        distances = _distances(closed[first + 1 : last], closed[first], closed[last])
        worst = int(distances.argmax())
        if distances[worst] > tolerance:
            middle = first + 1 + worst
            kept[middle] = True
            pending += [(first, middle), (middle, last)]
    return outline[kept[:-1]]


def enlarge(mask: Mask, *, width: int, height: int) -> Mask:
    """Resize a mask smoothly: bilinear between 0 and 255, cut at the middle."""
    return np.asarray(
        resize(mask.astype(np.uint8) * np.uint8(255), width=width, height=height) > 127
    )


def _box(part: Mask, place: Place, at: Place) -> list[int]:
    """Return the inclusive box in the picture of a part at ``place`` of what lies at ``at``."""
    left, top = place[0] + at[0], place[1] + at[1]
    return [left, top, left + part.shape[1] - 1, top + part.shape[0] - 1]


def _runs(mask: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return first column, column after the last, and row of each run, in reading order."""
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, starts = np.nonzero(edges == 1)
    _, ends = np.nonzero(edges == -1)
    return starts.astype(np.int64), ends.astype(np.int64), rows.astype(np.int64)


def _root(parents: NDArray[np.int64], run: int) -> int:
    while parents[run] != run:
        parents[run] = parents[parents[run]]
        run = int(parents[run])
    return run


def _unite(parents: NDArray[np.int64], first: int, second: int) -> None:
    roots = sorted((_root(parents, first), _root(parents, second)))
    parents[roots[1]] = roots[0]


def _next_step(padded: Mask, position: tuple[int, int], begin: int) -> int | None:
    """Return the index in the ring of the first true neighbour, clockwise from ``begin``."""
    for turn in range(8):
        step = (begin + turn) % 8
        if padded[position[0] + _RING[step][0], position[1] + _RING[step][1]]:
            return step
    return None


def _distances(
    points: NDArray[np.integer], start: NDArray[np.integer], end: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return the distance of each point to the line through start and end, in pixels."""
    line = (end - start).astype(np.float64)
    offsets = (points - start).astype(np.float64)
    length = float(np.hypot(line[0], line[1]))
    if length == 0.0:
        return np.asarray(np.hypot(offsets[:, 0], offsets[:, 1]))
    return np.asarray(np.abs(line[0] * offsets[:, 1] - line[1] * offsets[:, 0]) / length)


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
    # Row by row first: that is small, as the values have few columns.
    lines = values[top] * (1 - down) + values[bottom] * down
    return np.asarray(lines[:, left] * (1 - across) + lines[:, right] * across)
