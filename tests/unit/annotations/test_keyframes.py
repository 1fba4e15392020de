"""Keyframes are removed from a track if interpolation stays within the tolerance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_lambda.annotations.keyframes import thin_keyframes
from cvat_lambda.annotations.tracks import shapes_on_frame
from cvat_lambda.annotations.types import AttributeValue, ShapeType, Track, TrackedShape


def boxes(*corners: tuple[float, ...], type: ShapeType = "rectangle") -> list[TrackedShape]:
    return [TrackedShape(type=type, frame=i, points=points) for i, points in enumerate(corners)]


def moving(count: int, dx: float) -> list[TrackedShape]:
    return boxes(*((10 + dx * i, 20, 30 + dx * i, 40) for i in range(count)))


def frames_of(shapes: tuple[TrackedShape, ...]) -> list[int]:
    return [shape.frame for shape in shapes]


def test_uniform_motion_is_reduced_to_two_keyframes() -> None:
    assert frames_of(thin_keyframes(moving(100, dx=1.5), tolerance_px=0.01)) == [0, 99]


def test_change_of_direction_keeps_its_keyframe() -> None:
    there = [(float(x), 0.0, x + 5.0, 5.0) for x in range(11)]
    back = [(float(x), 0.0, x + 5.0, 5.0) for x in range(9, -1, -1)]
    assert frames_of(thin_keyframes(boxes(*there, *back), tolerance_px=0.1)) == [0, 10, 20]


def test_jitter_below_the_tolerance_is_left_out() -> None:
    jitter = np.random.default_rng(1).uniform(-0.4, 0.4, (200, 4))
    shapes = boxes(*(tuple(np.array([5, 5, 50, 50]) + row) for row in jitter))
    assert frames_of(thin_keyframes(shapes, tolerance_px=1.0)) == [0, 199]


@pytest.mark.parametrize(
    "change",
    [
        {"outside": True},
        {"occluded": True},
        {"z_order": 1},
        {"attributes": (AttributeValue(spec_id=1, value="yes"),)},
        {"type": "ellipse"},
    ],
)
def test_keyframe_that_changes_more_than_geometry_is_kept(change: dict[str, object]) -> None:
    shapes = moving(9, dx=0)
    fields = {"type": "rectangle", "frame": 4, "points": shapes[4].points, **change}
    shapes[4] = TrackedShape(**fields)  # type: ignore[arg-type]
    assert frames_of(thin_keyframes(shapes, tolerance_px=5.0)) == [0, 3, 4, 5, 8]


@pytest.mark.parametrize(
    ("shape_type", "kept"),
    [("points", [0, 2]), ("polygon", [0, 1, 2, 3]), ("polyline", [0, 1, 2, 3])],
)
def test_shape_of_many_points_loses_only_keyframes_that_cvat_repeats(
    shape_type: ShapeType, kept: list[int]
) -> None:
    """CVAT holds several points, but morphs a polygon from one keyframe to the next."""
    still, moved = (0.0, 0.0, 9.0, 0.0, 9.0, 9.0), (1.0, 0.0, 9.0, 0.0, 9.0, 9.0)
    shapes = boxes(still, still, moved, moved, type=shape_type)
    assert frames_of(thin_keyframes(shapes, tolerance_px=5.0)) == kept


def test_single_point_is_interpolated() -> None:
    shapes = boxes((0, 0), (1, 2), (2, 4), type="points")
    assert frames_of(thin_keyframes(shapes, tolerance_px=0.1)) == [0, 2]


def test_rotation_over_zero_degrees_is_interpolated_the_short_way() -> None:
    turns = [350.0, 355.0, 0.0, 5.0, 10.0]
    shapes = [
        TrackedShape(type="rectangle", frame=i, points=(0, 0, 40, 30), rotation=turn)
        for i, turn in enumerate(turns)
    ]
    assert frames_of(thin_keyframes(shapes, tolerance_px=0.1)) == [0, 4]


@given(
    steps=st.lists(
        st.tuples(st.integers(1, 4), *[st.floats(-6, 6, allow_nan=False)] * 4, st.floats(-9, 9)),
        max_size=60,
    ),
    tolerance=st.floats(0.1, 5),
)
def test_interpolation_stays_within_the_tolerance_on_every_keyframe(
    steps: list[tuple[int, float, float, float, float, float]], tolerance: float
) -> None:
    frame, points, turn = 0, np.array([100.0, 100.0, 160.0, 140.0]), 0.0
    shapes = [TrackedShape(type="rectangle", frame=0, points=tuple(points))]
    for gap, *moves, spin in steps:
        frame, points, turn = frame + gap, points + moves, turn + spin
        shapes.append(
            TrackedShape(type="rectangle", frame=frame, points=tuple(points), rotation=turn % 360)
        )
    thinned = thin_keyframes(shapes, tolerance_px=tolerance)
    track = Track(frame=0, label_id=1, shapes=thinned)
    assert set(thinned) <= set(shapes)
    for shape in shapes:
        (seen,) = shapes_on_frame(shape.frame, [track])
        assert np.abs(np.subtract(seen.points, shape.points)).max() <= tolerance + 1e-6
        difference = (seen.rotation - shape.rotation + 180) % 360 - 180
        corner = math.hypot(shape.points[2] - shape.points[0], shape.points[3] - shape.points[1])
        assert math.radians(abs(difference)) * corner / 2 <= tolerance + 1e-6


@given(
    kind=st.sampled_from(["point", "points", "polygon", "ellipse", "cuboid"]),
    steps=st.lists(
        st.tuples(st.integers(1, 4), st.booleans(), *[st.floats(-6, 6, allow_nan=False)] * 3),
        max_size=60,
    ),
    tolerance=st.floats(0.1, 5),
)
def test_shape_is_within_the_tolerance_when_it_is_visible_and_absent_when_it_is_outside(
    kind: str, steps: list[tuple[int, bool, float, float, float]], tolerance: float
) -> None:
    count = {"point": 2, "points": 6, "polygon": 8, "ellipse": 4, "cuboid": 16}[kind]
    shape_type: Any = "points" if kind == "point" else kind
    frame, points = 0, np.arange(100.0, 100.0 + 10 * count, 10.0)
    shapes = [TrackedShape(type=shape_type, frame=0, points=tuple(points))]
    for gap, outside, first, second, third in steps:
        moves = np.resize([first, second, third], count)
        frame, points = frame + gap, points + (0 if outside else moves)
        shapes.append(
            TrackedShape(type=shape_type, frame=frame, points=tuple(points), outside=outside)
        )
    track = Track(frame=0, label_id=1, shapes=thin_keyframes(shapes, tolerance_px=tolerance))
    assert set(track.shapes) <= set(shapes)
    allowed = 0.0 if kind in ("points", "polygon") else tolerance + 1e-6  # these do not move
    for shape in shapes:
        seen = shapes_on_frame(shape.frame, [track])
        assert bool(seen) is not shape.outside
        for visible in seen:
            assert np.abs(np.subtract(visible.points, shape.points)).max() <= allowed
