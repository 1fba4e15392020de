"""The conversion of masks to polygons and of polygons to masks.

Outlines are traced in numpy. OpenCV traces them too, but a CVAT server has its own build of cv2,
and two builds overwrite each other's files, so this project must not depend on one. Polygons are
filled by pycocotools, which a CVAT server has as well.

Polygons run along the *edges* of the pixels: a pixel ``(x, y)`` covers ``[x, x+1] x [y, y+1]``. An
unsimplified polygon has exactly the area of its mask. Polygons of cv2 run through the centres of
the pixels and lose half a pixel on each side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from cvat_lambda.annotations.errors import ShapeError
from cvat_lambda.annotations.placement import Bitmap
from cvat_lambda.annotations.rle import MAX_PIXELS, encode, trim

Vertices = npt.NDArray[np.float64]  # [n, 2] of x, y

DEFAULT_TOLERANCE: Final = 1.5  # pixels that a simplified outline may be off
# By direction (right, down, left, up): where a side starts from its upper left end, where it goes.
_START_OFFSETS: Final = np.array([[0, 0], [0, 0], [1, 0], [0, 1]])
_STEPS: Final = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
MAX_OUTLINE: Final = 1 << 22  # pixels; the length of an outline that can be filled
MAX_CHANGE: Final = 0.03  # share of the area that simplification may add and take away


def largest_polygon(
    bitmap: Bitmap, left: int, top: int, *, tolerance: float = DEFAULT_TOLERANCE
) -> tuple[float, ...] | None:
    """Outline the largest part of a mask as one polygon ``(x0, y0, x1, y1, ...)``.

    Pixels that touch at a corner belong to one part, and holes are filled. Return None for an
    empty mask.
    """
    cut = trim(bitmap, left, top)  # the steps below take time and memory for each pixel
    if cut is None:
        return None
    bitmap, left, top = cut
    loops, areas = _follow(bitmap)
    largest = _drop_collinear(loops[int(np.argmax(areas))])
    vertices = simplify(largest, tolerance) + np.array([left, top])
    return tuple(vertices.ravel().tolist())


def trace(bitmap: Bitmap) -> list[Vertices]:
    """Trace the outer outlines of a mask, clockwise on the screen; holes are left out."""
    loops, areas = _follow(bitmap)
    return [_drop_collinear(loop) for loop, area in zip(loops, areas, strict=True) if area > 0]


def simplify(vertices: Vertices, tolerance: float) -> Vertices:
    """Simplify a closed outline (Douglas-Peucker) while it covers nearly the same pixels.

    The tolerance is halved until the outline covers nearly the same pixels, so that an object of a
    few pixels keeps its form.
    """
    area = abs(signed_area(vertices))
    length = float(np.abs(vertices - np.roll(vertices, 1, axis=0)).sum())
    while tolerance > 0.05:
        kept = douglas_peucker(vertices, tolerance)
        # An edge cuts off or adds at most its length times the tolerance.
        if length * tolerance <= MAX_CHANGE * area or _change(vertices, kept) <= MAX_CHANGE * area:
            return kept
        tolerance /= 2
    return vertices


def _change(outline: Vertices, simplified: Vertices) -> float:
    """Count the pixels that only one of two outlines holds."""
    corner = np.floor(outline.min(axis=0))
    width, height = (int(value) for value in np.ceil(outline.max(axis=0)) - corner)
    if len(simplified) < 3:
        return math.inf
    both = [_encode((each - corner).ravel(), width, height) for each in (outline, simplified)]
    common = int(coco.area(coco.merge(both, intersect=True)))
    return float(sum(map(int, coco.area(both))) - 2 * common)


def fill(points: tuple[float, ...], width: int, height: int) -> Bitmap:
    """Fill a polygon by COCO's rule, which is even-odd.

    Raise ShapeError for an outline so long that this would take seconds.
    """
    runs = coco_counts(_encode(points, width, height)["counts"])
    by_columns: Bitmap = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return by_columns.reshape(width, height).T


def outline_length(points: Sequence[float]) -> float:
    """Return the length of a polygon's outline in pixels: columns and rows that it crosses."""
    vertices = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    return float(np.abs(vertices - np.roll(vertices, 1, axis=0)).sum())


def _encode(points: Sequence[float], width: int, height: int) -> dict[str, Any]:
    """Return the pixels of a polygon as COCO's compressed run lengths. Raise ShapeError."""
    vertices = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    length = outline_length(points)
    if length > MAX_OUTLINE:
        raise ShapeError(f"the polygon's outline of {length:.0f} pixels is too long for a mask")
    encoded: dict[str, Any] = coco.frPyObjects([vertices.ravel().tolist()], height, width)[0]
    return encoded


def coco_counts(compressed: bytes) -> npt.NDArray[np.int64]:
    """Return the run lengths in COCO's compressed text (``rleToString`` of its maskApi.c).

    pycocotools has no function for this, and its ``decode`` warns under numpy 2.
    """
    groups = np.frombuffer(compressed, dtype=np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(groups & 0x20 == 0)  # bit 5: more groups of the number follow
    lengths = np.diff(ends, prepend=-1)
    starts = ends - lengths + 1
    shifts = 5 * (np.arange(len(groups)) - np.repeat(starts, lengths))
    counts: npt.NDArray[np.int64] = np.add.reduceat((groups & 0x1F) << shifts, starts)
    counts -= np.where(groups[ends] & 0x10, np.left_shift(1, 5 * lengths), 0)  # the sign
    # From the fourth number on, each is the difference to the one two places before it.
    for parity in (1, 2):
        counts[parity::2] = np.cumsum(counts[parity::2])
    return counts


def mask_of(polygon: tuple[float, ...]) -> tuple[int, ...] | None:
    """Fill a polygon as a mask of run lengths; None when it holds no pixel's centre.

    Raise ShapeError for a polygon too large to fill.
    """
    vertices = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    left, top = (int(value) for value in np.floor(vertices.min(axis=0)))
    width, height = (int(value) for value in np.ceil(vertices.max(axis=0)) - (left, top))
    if width * height > MAX_PIXELS:
        raise ShapeError(f"the polygon of {width} x {height} pixels is too large for a mask")
    if width < 1 or height < 1:
        return None
    moved = (vertices - (left, top)).ravel().tolist()
    cut = trim(fill(tuple(moved), width, height), left, top)
    return None if cut is None else encode(*cut)


def signed_area(vertices: Vertices) -> float:
    """Area inside an outline (shoelace formula), positive when clockwise on the screen."""
    x, y = vertices.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def _follow(bitmap: Bitmap) -> tuple[list[npt.NDArray[np.int64]], npt.NDArray[np.float64]]:
    """Follow the pixels' sides into closed loops; return them with their signed areas.

    Each side between a one and a zero is a directed edge with the one at its right hand, so
    loops around holes have a negative area.
    """
    successors, starts = _link_edges(bitmap)
    if not successors:
        return [], np.empty(0)
    order: list[int] = []
    begins: list[int] = []
    unseen = bytearray(b"\x01") * len(successors)
    edge = unseen.find(1)
    while edge >= 0:
        begins.append(len(order))
        while unseen[edge]:
            unseen[edge] = 0
            order.append(edge)
            edge = successors[edge]
        edge = unseen.find(1, edge)  # all before the loop's first edge is seen
    walked = starts[order]
    ended = starts[[successors[edge] for edge in order]]
    crosses = walked[:, 0] * ended[:, 1] - ended[:, 0] * walked[:, 1]
    areas = np.add.reduceat(crosses, begins) / 2
    return np.split(walked, begins[1:]), areas


def _link_edges(bitmap: Bitmap) -> tuple[list[int], npt.NDArray[np.int64]]:
    """Return for each edge the one that follows it, and the edges' start vertices [n, 2]."""
    padded = np.pad(bitmap, 1).astype(np.int8)
    down, right = np.diff(padded, axis=0), np.diff(padded, axis=1)
    # Clockwise with y down: a top side runs right, a right side down, a bottom left, a left up.
    rows_columns = (
        np.nonzero(down[:, 1:-1] == 1),
        np.nonzero(right[1:-1] == -1),
        np.nonzero(down[:, 1:-1] == -1),
        np.nonzero(right[1:-1] == 1),
    )
    directions = np.repeat(np.arange(4), [len(rows) for rows, _ in rows_columns])
    vertices = np.concatenate([np.stack([columns, rows], axis=1) for rows, columns in rows_columns])
    starts = vertices + _START_OFFSETS[directions]
    steps = _STEPS[directions]
    width, height = bitmap.shape[1] + 1, bitmap.shape[0] + 1
    leaving = np.full((4, width * height), -1, dtype=np.int32)  # the edge by direction and vertex
    leaving[directions, starts[:, 1] * width + starts[:, 0]] = np.arange(len(starts))
    ends = starts + steps
    at = ends[:, 1] * width + ends[:, 0]
    # Where two ones touch at a corner, two edges leave: turning left joins the two.
    turn_left, straight, turn_right = (leaving[(directions + turn) % 4, at] for turn in (3, 0, 1))
    following = np.where(straight >= 0, straight, turn_right)
    successors = np.where(turn_left >= 0, turn_left, following)
    linked: list[int] = successors.tolist()
    return linked, starts


def _drop_collinear(loop: npt.NDArray[np.int64]) -> Vertices:
    """Keep the corners of a loop of unit steps."""
    before, after = loop - np.roll(loop, 1, axis=0), np.roll(loop, -1, axis=0) - loop
    return loop[np.any(before != after, axis=1)].astype(np.float64)


def douglas_peucker(vertices: Vertices, tolerance: float) -> Vertices:
    """Simplify a closed outline, split at its first vertex and the one farthest from it.

    All pieces are split together, then the halves of those: an intricate outline has tens of
    thousands of pieces, which would take seconds one by one.
    """
    count = len(vertices)
    far = int(np.argmax(np.square(vertices - vertices[0]).sum(axis=1)))
    closed = np.concatenate([vertices, vertices[:1]])
    keep = np.zeros(count + 1, dtype=np.bool_)
    keep[[0, far, count]] = True
    begins, ends = np.array([0, far]), np.array([far, count])
    while True:
        hollow = ends - begins > 1
        begins, ends = begins[hollow], ends[hollow]
        if not len(begins):
            return vertices[keep[:-1]]
        middles, distances = _farthest(closed, begins, ends)
        split = distances > tolerance
        begins, middles, ends = begins[split], middles[split], ends[split]
        keep[middles] = True
        begins, ends = np.concatenate([begins, middles]), np.concatenate([middles, ends])


def _farthest(
    points: Vertices, begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return for each piece the inner point farthest from its chord, and the distance."""
    counts = ends - begins - 1
    firsts = np.cumsum(counts) - counts
    pieces = np.repeat(np.arange(len(counts)), counts)
    inner = np.arange(len(pieces)) + (begins + 1 - firsts)[pieces]
    along = points[ends] - points[begins]
    lengths = np.square(along).sum(axis=1)
    lengths[lengths == 0] = 1.0  # both ends are one point, and all of ``along`` is zero
    along, offsets = along[pieces], points[inner] - points[begins][pieces]
    share = np.clip((offsets * along).sum(axis=1) / lengths[pieces], 0, 1)
    offsets -= share[:, None] * along
    distances = np.hypot(offsets[:, 0], offsets[:, 1])
    most = np.maximum.reduceat(distances, firsts)
    reached = np.flatnonzero(distances == most[pieces])
    chosen = reached[np.searchsorted(pieces[reached], np.arange(len(counts)))]
    return inner[chosen], most
