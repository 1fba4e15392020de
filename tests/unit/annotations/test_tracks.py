"""Interpolation of tracks between their keyframes."""

from __future__ import annotations

from typing import Any

import pytest

from cvat_lambda.annotations.tracks import shapes_on_frame
from cvat_lambda.annotations.types import Track, TrackedShape


def key(frame: int, *points: float, **fields: Any) -> TrackedShape:
    return TrackedShape(**{"type": "rectangle", "frame": frame, "points": points, **fields})


def track(*shapes: TrackedShape, **fields: Any) -> Track:
    return Track(frame=shapes[0].frame, label_id=1, shapes=shapes, **{"id": 7, **fields})


BOX = track(key(2, 0, 0, 10, 10), key(6, 8, 4, 18, 14), key(8, 8, 4, 18, 14, outside=True))


@pytest.mark.parametrize(
    ("frame", "points"),
    [
        (1, None),  # before the first keyframe
        (2, (0, 0, 10, 10)),
        (3, (2, 1, 12, 11)),  # interpolated
        (6, (8, 4, 18, 14)),
        (7, (8, 4, 18, 14)),  # not interpolated, because the next keyframe is outside
        (8, None),
        (9, None),
    ],
)
def test_box_is_interpolated_between_keyframes(
    frame: int, points: tuple[float, ...] | None
) -> None:
    found = shapes_on_frame(frame, [BOX])
    assert [shape.points for shape in found] == ([] if points is None else [points])
    assert [(shape.id, shape.frame) for shape in found] == ([] if points is None else [(7, frame)])


def test_shape_of_the_last_keyframe_stays_until_the_end() -> None:
    (found,) = shapes_on_frame(500, [track(key(0, 1, 2, 3, 4))])
    assert found.points == (1, 2, 3, 4)


@pytest.mark.parametrize(("one", "two", "middle"), [(350, 10, 0), (10, 350, 0), (0, 90, 45)])
def test_rotation_is_interpolated_in_the_shorter_direction(
    one: float, two: float, middle: float
) -> None:
    turning = track(key(0, 0, 0, 9, 9, rotation=one), key(2, 0, 0, 9, 9, rotation=two))
    (found,) = shapes_on_frame(1, [turning])
    assert found.rotation == pytest.approx(middle)


@pytest.mark.parametrize("kind", ["polygon", "polyline", "mask", "points"])
def test_shape_of_many_points_stays_until_the_next_key_frame(kind: object) -> None:
    first, second = key(0, 0, 0, 9, 0, 9, 9, type=kind), key(2, 5, 5, 9, 0, 9, 9, type=kind)
    assert [shape.points for shape in shapes_on_frame(1, [track(first, second)])] == [first.points]


def test_interpolated_skeleton_has_its_visible_points_only() -> None:
    head = track(key(0, 0, 0, type="points"), key(2, 4, 4, type="points"), id=8)
    foot = track(key(0, 9, 9, type="points"), key(1, 9, 9, type="points", outside=True), id=9)
    whole = track(key(0, type="skeleton"), elements=(head, foot))
    (found,) = shapes_on_frame(1, [whole])
    assert [(element.id, element.points) for element in found.elements] == [(8, (2, 2))]
