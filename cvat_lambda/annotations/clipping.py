"""Cutting polygons and polylines to the rectangle of an image."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final

Point = tuple[float, float]

MIN_AREA: Final = 1e-6  # square pixels; a polygon of less is a line


def clip_polygon(points: tuple[float, ...], size: tuple[int, int]) -> tuple[float, ...] | None:
    """Cut a polygon to the image (Sutherland-Hodgman); None when no area of it is inside.

    A hollow polygon that the border cuts into parts stays one polygon, joined along the border.
    """
    width, height = size
    vertices = list(zip(points[0::2], points[1::2], strict=True))
    for axis, bound, sign in (
        (0, 0.0, 1),
        (0, float(width), -1),
        (1, 0.0, 1),
        (1, float(height), -1),
    ):
        if any(sign * (vertex[axis] - bound) < 0 for vertex in vertices):
            vertices = _cut(vertices, axis, bound, sign)
    if len(vertices) < 3 or abs(_area(vertices)) < MIN_AREA:
        return None
    return tuple(value for vertex in vertices for value in vertex)


def clip_polyline(points: tuple[float, ...], size: tuple[int, int]) -> tuple[float, ...] | None:
    """Cut a polyline to the image and keep its longest piece; None when none is inside."""
    vertices = list(zip(points[0::2], points[1::2], strict=True))
    pieces: list[list[Point]] = []
    for start, end in pairwise(vertices):
        part = _clip_segment(start, end, size)
        if part is None:
            continue
        if pieces and pieces[-1][-1] == part[0]:
            pieces[-1].append(part[1])
        else:
            pieces.append(list(part))
    longest = max(pieces, key=_length, default=None)
    if longest is None or _length(longest) <= 0:
        return None
    return tuple(value for vertex in longest for value in vertex)


def _cut(vertices: list[Point], axis: int, bound: float, sign: int) -> list[Point]:
    """Keep what lies on the inner side of one border."""
    kept: list[Point] = []
    previous = vertices[-1]
    for vertex in vertices:
        inside = sign * (vertex[axis] - bound) >= 0
        if inside != (sign * (previous[axis] - bound) >= 0):
            kept.append(_cross(previous, vertex, axis, bound))
        if inside:
            kept.append(vertex)
        previous = vertex
    return kept


def _cross(start: Point, end: Point, axis: int, bound: float) -> Point:
    """Return where a segment crosses ``bound``, exactly on it and between its ends."""
    share = (bound - start[axis]) / (end[axis] - start[axis])
    other = start[1 - axis] + share * (end[1 - axis] - start[1 - axis])
    low, high = sorted((start[1 - axis], end[1 - axis]))
    other = min(max(other, low), high)
    return (bound, other) if axis == 0 else (other, bound)


def _clip_segment(start: Point, end: Point, size: tuple[int, int]) -> tuple[Point, Point] | None:
    """Cut a segment to the image (Liang-Barsky)."""
    enter, leave = 0.0, 1.0
    for axis in (0, 1):
        step = end[axis] - start[axis]
        for distance, speed in ((start[axis], -step), (size[axis] - start[axis], step)):
            if speed == 0:
                if distance < 0:
                    return None
            elif speed < 0:
                enter = max(enter, distance / speed)
            else:
                leave = min(leave, distance / speed)
    if enter > leave:
        return None
    return _walk(start, end, enter, size), _walk(start, end, leave, size)


def _walk(start: Point, end: Point, share: float, size: tuple[int, int]) -> Point:
    """Return the point at a share of a segment, without the rounding error of a crossing."""
    x, y = end if share == 1.0 else start
    if 0.0 < share < 1.0:
        x += share * (end[0] - x)
        y += share * (end[1] - y)
    return min(max(x, 0.0), float(size[0])), min(max(y, 0.0), float(size[1]))


def _length(vertices: list[Point]) -> float:
    return math.fsum(map(math.dist, vertices[:-1], vertices[1:]))


def _area(vertices: list[Point]) -> float:
    following = vertices[1:] + vertices[:1]
    return (
        math.fsum(a[0] * b[1] - b[0] * a[1] for a, b in zip(vertices, following, strict=True)) / 2
    )
