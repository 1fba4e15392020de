"""Outlines and boxes of shapes, for formats that have polygons and boxes only."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from cvat_lambda.annotations import contours, rle
from cvat_lambda.annotations.types import Shape

Points = tuple[float, ...]  # x0, y0, x1, y1, ...
RIM_POINTS: Final = 36  # of an ellipse


def bitmap_of(shape: Shape, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Return a mask as an array of the frame's size, of 0 and 1."""
    whole = np.zeros((height, width), dtype=np.uint8)
    found = rle.decode_inside(shape.points, width, height)
    if found is not None:
        bitmap, left, top = found
        whole[top : top + bitmap.shape[0], left : left + bitmap.shape[1]] = bitmap
    return whole


def polygons_of(shape: Shape, width: int, height: int) -> list[Points]:
    """Return the outlines of a rectangle, ellipse, polygon or mask; none of other shapes."""
    if shape.type == "polygon":
        return [shape.points]
    if shape.type == "rectangle":
        left, top, right, bottom = shape.points
        corners = ((left, top), (right, top), (right, bottom), (left, bottom))
        return [_rotated(corners, ((left + right) / 2, (top + bottom) / 2), shape.rotation)]
    if shape.type == "ellipse":
        cx, cy, right, top = shape.points
        angles = [2 * math.pi * step / RIM_POINTS for step in range(RIM_POINTS)]
        rim = tuple(
            (cx + (right - cx) * math.cos(angle), cy + (cy - top) * math.sin(angle))
            for angle in angles
        )
        return [_rotated(rim, (cx, cy), shape.rotation)]
    if shape.type == "mask":
        bitmap = bitmap_of(shape, width, height).astype(bool)
        if not bitmap.any():
            return []
        return [tuple(vertices.ravel().tolist()) for vertices in contours.trace(bitmap)]
    return []


def box_of(shape: Shape, width: int, height: int) -> tuple[float, float, float, float] | None:
    """Return the box [left, top, right, bottom] around a shape; None for an empty one."""
    if shape.type == "skeleton":
        seen = [e.points for e in shape.elements if not e.outside and e.points]
        points = [value for pair in seen for value in pair]
    elif shape.type in ("rectangle", "ellipse", "mask", "polygon"):
        points = [value for polygon in polygons_of(shape, width, height) for value in polygon]
    else:
        points = list(shape.points)
    if not points:
        return None
    xs, ys = points[0::2], points[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def area_of(polygon: Points) -> float:
    """Return the area of a polygon."""
    return abs(contours.signed_area(np.array(polygon, dtype=np.float64).reshape(-1, 2)))


def _rotated(
    corners: tuple[tuple[float, float], ...], centre: tuple[float, float], degrees: float
) -> Points:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    cx, cy = centre
    return tuple(
        value
        for x, y in corners
        for value in (
            cx + (x - cx) * cos - (y - cy) * sin,
            cy + (x - cx) * sin + (y - cy) * cos,
        )
    )
