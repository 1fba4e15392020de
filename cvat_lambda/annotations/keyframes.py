"""Thinning of keyframes: a track keeps only those that linear interpolation cannot replace.

Rectangles, ellipses, cuboids and single points are interpolated linearly between two keyframes
(`tracks.shapes_on_frame`). Several points stay as they are until the next keyframe, so repetitions
of them are left out. Polygons and polylines keep all keyframes: CVAT morphs them from one keyframe
to the next, and leaves out points of them even if both keyframes are equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from cvat_lambda.annotations.tracks import is_linear
from cvat_lambda.annotations.types import TrackedShape


def thin_keyframes(
    shapes: Sequence[TrackedShape], *, tolerance_px: float
) -> tuple[TrackedShape, ...]:
    """Return a subset of ``shapes`` from which all of them can be interpolated.

    ``shapes`` are in ascending order of frame. On every frame each coordinate that is interpolated
    from the result differs by at most ``tolerance_px`` pixels, and a rotation by an angle that
    moves no corner by more. Frames without a shape stay covered by the same neighbours as before.

    The method is the swinging door of Bristol (1990, "Swinging door trending"), with measured
    values as end points: O(number of coordinates) in time.
    """
    kept: list[TrackedShape] = []
    for run in _runs(shapes):
        if is_linear(run[0]):
            kept += (run[index] for index in _corners(run, tolerance_px))
        elif run[0].type in ("polygon", "polyline"):
            kept += run
        else:
            kept += _changes(run)
    return tuple(kept)


def _runs(shapes: Sequence[TrackedShape]) -> Iterator[Sequence[TrackedShape]]:
    """Cut where two neighbours differ in more than their geometry."""
    start = 0
    for index in range(1, len(shapes) + 1):
        if index == len(shapes) or _kind(shapes[index]) != _kind(shapes[start]):
            yield shapes[start:index]
            start = index


def _kind(shape: TrackedShape) -> tuple[object, ...]:
    return (
        shape.type,
        len(shape.points),
        shape.outside,
        shape.occluded,
        shape.z_order,
        shape.attributes,
    )


def _changes(run: Sequence[TrackedShape]) -> Iterator[TrackedShape]:
    """Leave out repetitions of the keyframe before."""
    last: TrackedShape | None = None
    for shape in run:
        if last is None or (shape.points, shape.rotation) != (last.points, last.rotation):
            yield shape
            last = shape


def _corners(run: Sequence[TrackedShape], tolerance: float) -> list[int]:
    """Return the indices of the keyframes to keep, always with the first and the last."""
    frames = np.array([shape.frame for shape in run], dtype=np.float64)
    values = _coordinates(run)
    kept = [0]
    while kept[-1] < len(run) - 1:
        kept.append(_farthest(frames, values, kept[-1], tolerance))
    return kept


def _coordinates(run: Sequence[TrackedShape]) -> NDArray[np.float64]:
    """Shape (frames, coordinates), pixels; a rotation counts as the arc of the farthest corner."""
    points = np.array([shape.points for shape in run], dtype=np.float64)
    turns = np.unwrap(np.radians([shape.rotation for shape in run]))
    if not np.ptp(turns):
        return points
    radius = np.hypot(*(np.ptp(points[:, axis::2], axis=1).max() for axis in (0, 1)))
    return np.column_stack([points, turns * radius])


def _farthest(
    frames: NDArray[np.float64], values: NDArray[np.float64], start: int, tolerance: float
) -> int:
    """Return the last index to which a line from ``start`` is close to all points between."""
    low = np.full(values.shape[1], -np.inf)
    high = np.full(values.shape[1], np.inf)
    best = start + 1
    for index in range(start + 1, len(frames)):
        distance = frames[index] - frames[start]
        rise = values[index] - values[start]
        slope = rise / distance
        if (slope >= low).all() and (slope <= high).all():
            best = index
        low = np.maximum(low, (rise - tolerance) / distance)
        high = np.minimum(high, (rise + tolerance) / distance)
        if (low > high).any():
            break
    return best
