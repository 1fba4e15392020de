"""Calls of trackers: shapes start objects, states continue them, invalid ones are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from common.errors import BadInput
from common.images import encode_png
from common.tracking import read_numbers, track

IMAGE = encode_png(np.zeros((60, 80, 3), dtype=np.uint8))


class ShiftingTracker:
    """A tracker that moves each box 10 pixels to the right. Its target is the box."""

    min_side = 4.0
    state_version = 7

    def start(self, image: np.ndarray, boxes: Sequence[np.ndarray]) -> list[np.ndarray]:
        return list(boxes)

    def follow(self, image: np.ndarray, targets: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [target + np.array([10, 0, 10, 0]) for target in targets]

    def box(self, target: np.ndarray) -> np.ndarray:
        return target

    def write_state(self, target: np.ndarray) -> dict[str, Any]:
        return {"box": target.tolist()}

    def read_state(self, state: dict[str, Any], name: str) -> np.ndarray:
        return read_numbers(state.get("box"), f"{name}.box", count=4)


def call(**body: object) -> dict[str, Any]:
    return track({"image": IMAGE, **body}, ShiftingTracker())


def rectangle(*points: float) -> dict[str, Any]:
    return {"type": "rectangle", "points": list(points)}


def test_object_starts_at_the_position_of_its_shape() -> None:
    assert call(shapes=[rectangle(30, 20, 10, 5)]) == {
        "shapes": [rectangle(10, 5, 30, 20)],  # the corners are sorted
        "states": [{"version": 7, "box": [10, 5, 30, 20]}],
    }


def test_array_of_numbers_is_read_as_a_rectangle() -> None:
    assert call(shapes=[[10, 5, 30, 20]]) == call(shapes=[rectangle(10, 5, 30, 20)])


def test_started_and_followed_objects_are_answered_in_the_order_sent() -> None:
    followed = {"version": 7, "box": [0, 0, 20, 20]}
    answer = call(shapes=[None, rectangle(40, 5, 60, 20)], states=[followed])
    assert answer["shapes"] == [rectangle(10, 0, 30, 20), rectangle(40, 5, 60, 20)]


def test_box_beyond_the_image_is_clipped_in_the_shape_and_kept_in_the_state() -> None:
    answer = call(states=[{"version": 7, "box": [60, 40, 90, 70]}])
    assert answer["shapes"] == [rectangle(70, 40, 80, 60)]
    assert answer["states"][0]["box"] == [70, 40, 100, 70]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "'shapes' and 'states' are empty"),
        ({"shapes": "x"}, "'shapes' is not a list"),
        ({"shapes": [None]}, "'shapes[0]' is empty and has no state"),
        ({"shapes": [{"type": "polygon", "points": [1, 2]}]}, "'shapes[0]' is of type 'polygon'"),
        ({"shapes": [rectangle(1, 2, 3)]}, "'shapes[0].points' is not a list of 4 numbers"),
        ({"shapes": [[1, 2, 3, 10**400]]}, "'shapes[0]' holds a number that is not a coordinate"),
        ({"shapes": [[1, 2, 3, float("nan")]]}, "'shapes[0]' holds a number"),
        ({"shapes": [[1, 2, 4, 40]]}, "'shapes[0]' is less than 4 px wide or high"),
        ({"shapes": [[80, 0, 95, 9]]}, "'shapes[0]' lies outside the image"),
        ({"shapes": [[10, -60, 60, 0]]}, "'shapes[0]' lies outside the image"),
        ({"states": ["x"]}, "'states[0]' is not a state of this function"),
        ({"states": [{"version": 6, "box": [1, 2, 9, 9]}]}, "'states[0]' is not a state"),
        ({"states": [{"version": 7, "box": [True] * 4}]}, "'states[0].box' is not a list of 4"),
    ],
)
def test_invalid_body_is_refused_with_a_message(body: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        call(**body)
    assert str(caught.value).startswith(sentence)
