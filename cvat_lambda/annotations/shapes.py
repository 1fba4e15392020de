"""The geometry of shapes: the check of their points, and the part inside an image.

Point counts are those of CVAT's REST API. A rectangle is two corners, an ellipse its centre and
``(rightmost x, topmost y)``, a cuboid eight corners, a mask run lengths (see ``rle``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeGuard

from cvat_lambda.annotations import rle
from cvat_lambda.annotations.clipping import clip_polygon, clip_polyline
from cvat_lambda.annotations.errors import ShapeError
from cvat_lambda.annotations.types import ShapeType

Points = tuple[float, ...]
Size = tuple[int, int]  # width, height of an image in pixels

MAX_VALUE: Final = 1e9  # of a coordinate; sums and products of larger numbers are not exact
VISIBLE_OVERSHOOT: Final = (
    1.0  # pixels; less beyond the border is a rounding error and gets no note
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PointCount:
    """The allowed number of coordinates of a shape type."""

    least: int
    most: int | None = None  # None: any
    words: str

    def accepts(self, count: int) -> bool:
        """Tell whether a shape may have this number of coordinates."""
        if self.most is not None:
            return self.least <= count <= self.most
        return count >= self.least and count % 2 == 0


POINT_COUNTS: Final[dict[str, PointCount]] = {
    "rectangle": PointCount(least=4, most=4, words="4 numbers"),
    "ellipse": PointCount(least=4, most=4, words="4 numbers"),
    "polygon": PointCount(least=6, words="an even count of 6 numbers or more"),
    "polyline": PointCount(least=4, words="an even count of 4 numbers or more"),
    "points": PointCount(least=2, words="an even count of 2 numbers or more"),
    "cuboid": PointCount(least=16, most=16, words="16 numbers"),
    "skeleton": PointCount(least=0, most=0, words="no numbers, its elements have them"),
}
# Types whose extent can be turned by ``rotation``.
ROTATABLE: Final = frozenset({"rectangle", "ellipse"})


def check_points(shape_type: str, points: object, *, size: Size | None = None) -> Points:
    """Return the points as numbers; raise ShapeError for a wrong count or a value that is none.

    ``size`` of the image bounds the box of a mask.
    """
    if not isinstance(points, (list, tuple)):
        raise ShapeError(f"the points of a {shape_type} must be an array of numbers")
    if points and isinstance(points[0], (list, tuple)):
        raise ShapeError("points are a flat array [x0, y0, x1, y1, ...], not an array of pairs")
    if shape_type == "mask":
        _check_numbers(points)
        return rle.check(points, image_size=size)
    count = POINT_COUNTS[shape_type]
    if not count.accepts(len(points)):
        raise ShapeError(
            f"a {shape_type} has {count.words}, but {len(points)} "
            f"{'was' if len(points) == 1 else 'were'} given"
        )
    _check_numbers(points)
    return tuple(map(float, points))


def check_rotation(shape_type: str, rotation: object) -> float:
    """Return a rotation in [0, 360) degrees; 0 for types that do not turn; raise ShapeError."""
    if rotation is None:
        return 0.0
    if not is_number(rotation):
        raise ShapeError("the rotation must be a finite number of degrees")
    if shape_type not in ROTATABLE:
        return 0.0
    degrees = float(rotation) % 360.0
    return 0.0 if degrees == 360.0 else degrees  # -1e-20 % 360 is 360


def is_number(value: object) -> TypeGuard[int | float]:
    """Tell whether a value of JSON is a finite number of at most `MAX_VALUE`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return -MAX_VALUE <= value <= MAX_VALUE  # false for NaN and Infinity


def fit(shape_type: str, points: Points, rotation: float, size: Size) -> tuple[Points | None, bool]:
    """Fit checked points into an image.

    Return the points, or None if nothing is left, and whether a visible part was cut off or lies
    outside. A rotated rectangle, an ellipse or a cuboid cannot be cut without becoming another
    shape, so it stays whole while a part of it is inside.
    """
    if shape_type == "rectangle":
        if rotation == 0.0:
            return _fit_rectangle(points, size)
        return _fit_extent(points, turned_extent(points, rotation), size)
    return _FITS[shape_type](points, size)


def pin(points: Points, size: Size) -> Points:
    """Move each vertex to the nearest place in the image, for a shape of which nothing is inside.

    It becomes flat, which is not kept, but shows where the object left.
    """
    return tuple(min(max(value, 0.0), float(size[i % 2])) for i, value in enumerate(points))


def anchor(shape_type: str, points: Points) -> tuple[float, float]:
    """Return the one point that stands for a shape: its centre, or the mean of its vertices."""
    if shape_type == "ellipse":
        return points[0], points[1]
    if shape_type == "mask":
        points = points[-4:]  # the box; run lengths are no coordinates
    return math.fsum(points[0::2]) * 2 / len(points), math.fsum(points[1::2]) * 2 / len(points)


def extent(points: Points) -> tuple[float, float, float, float]:
    """Return the (left, top, right, bottom) of points."""
    xs, ys = points[0::2], points[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def turned_extent(points: Points, rotation: float) -> tuple[float, float, float, float]:
    """Return the extent of a rectangle that is turned about its centre."""
    x0, y0, x1, y1 = points
    angle = math.radians(rotation)
    sine, cosine = abs(math.sin(angle)), abs(math.cos(angle))
    half_w, half_h = abs(x1 - x0) / 2, abs(y1 - y0) / 2
    dx, dy = half_w * cosine + half_h * sine, half_w * sine + half_h * cosine
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    return cx - dx, cy - dy, cx + dx, cy + dy


def _check_numbers(points: Sequence[object]) -> None:
    for value in points:
        # Type first: the common case is two fast tests a number.
        kind = type(value)
        if (kind is float or kind is int) and -MAX_VALUE <= value <= MAX_VALUE:  # type: ignore[operator]
            continue
        raise ShapeError("points must be finite numbers, not NaN, Infinity, text or none")


def _fit_rectangle(points: Points, size: Size) -> tuple[Points | None, bool]:
    x0, y0, x1, y1 = points
    if x0 > x1:
        x0, x1 = x1, x0
    if y0 > y1:
        y0, y1 = y1, y0
    width, height = size
    over = max(-x0, -y0, x1 - width, y1 - height)
    if over > 0:
        x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
    if x1 <= x0 or y1 <= y0:
        return None, True
    return (x0, y0, x1, y1), over > VISIBLE_OVERSHOOT


def _fit_extent(
    points: Points, box: tuple[float, float, float, float], size: Size
) -> tuple[Points | None, bool]:
    left, top, right, bottom = box
    width, height = size
    if (
        right <= left
        or bottom <= top
        or right <= 0
        or bottom <= 0
        or left >= width
        or top >= height
    ):
        return None, True
    over = max(-left, -top, right - width, bottom - height)
    return points, over > VISIBLE_OVERSHOOT


def _fit_ellipse(points: Points, size: Size) -> tuple[Points | None, bool]:
    cx, cy, right, top = points
    rx, ry = right - cx, cy - top
    if rx <= 0 or ry <= 0:
        return None, True
    return _fit_extent(points, (cx - rx, cy - ry, cx + rx, cy + ry), size)


def _fit_cuboid(points: Points, size: Size) -> tuple[Points | None, bool]:
    return _fit_extent(points, extent(points), size)


def _fit_polygon(points: Points, size: Size) -> tuple[Points | None, bool]:
    over = _overshoot(points, size)
    cut = clip_polygon(points, size)
    return cut, cut is None or over > VISIBLE_OVERSHOOT


def _fit_polyline(points: Points, size: Size) -> tuple[Points | None, bool]:
    over = _overshoot(points, size)
    cut = clip_polyline(points, size)
    return cut, cut is None or over > VISIBLE_OVERSHOOT


def _fit_points(points: Points, size: Size) -> tuple[Points | None, bool]:
    width, height = size
    kept: list[float] = []
    for x, y in zip(points[0::2], points[1::2], strict=True):
        # -1 is not a rounding error: functions write it for a point that they did not find.
        if (
            -VISIBLE_OVERSHOOT < x < width + VISIBLE_OVERSHOOT
            and -VISIBLE_OVERSHOOT < y < height + VISIBLE_OVERSHOOT
        ):
            kept += (min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height)))
    return tuple(kept) or None, len(kept) < len(points)


def _fit_mask(points: Points, size: Size) -> tuple[Points | None, bool]:
    left, top, right, bottom = points[-4:]
    width, height = size
    if left >= 0 and top >= 0 and right < width and bottom < height:
        return (points, False) if any(points[1:-4:2]) else (None, True)
    return rle.clip(points, width, height), True


def _overshoot(points: Points, size: Size) -> float:
    left, top, right, bottom = extent(points)
    return max(-left, -top, right - size[0], bottom - size[1])


_FITS: Final[dict[str, Callable[[Points, Size], tuple[Points | None, bool]]]] = {
    "ellipse": _fit_ellipse,
    "cuboid": _fit_cuboid,
    "polygon": _fit_polygon,
    "polyline": _fit_polyline,
    "points": _fit_points,
    "mask": _fit_mask,
}


def hidden_points(shape_type: ShapeType, x: float, y: float) -> Points:
    """Return valid points of any type at one place, for a hidden element."""
    if shape_type == "mask":
        column, row = int(x), int(y)
        return (0, 1, column, row, column, row)
    return (x, y) * (POINT_COUNTS[shape_type].least // 2)
