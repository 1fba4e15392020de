"""The siamese tracker on clips composed of the sample photographs, with known boxes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.functions.packaged.photographs import box_iou, encode, encoded
from tests.functions.packaged.scenes import Frame, crossing

FUNCTIONS = ("openvino-siamese-mobilenetv2",)

pytestmark = pytest.mark.models
Function = Callable[[str], Any]


@pytest.fixture(scope="session")
def clip() -> list[Frame]:
    return crossing()


def rectangles(boxes: list[list[float]]) -> list[dict[str, Any]]:
    return [{"type": "rectangle", "points": box} for box in boxes]


def call(function: Function, frame: np.ndarray, **body: object) -> dict[str, Any]:
    status, answer = function(FUNCTIONS[0]).invoke({"image": encode(frame), **body})
    assert status == 200, answer
    return dict(answer)


def test_two_objects_are_tracked_over_a_clip(function: Function, clip: list[Frame]) -> None:
    answer = call(function, clip[0][0], shapes=rectangles(clip[0][1]))
    assert answer["shapes"] == rectangles(clip[0][1])
    for frame, truth in clip[1:]:
        states = answer["states"]
        answer = call(function, frame, shapes=[None] * len(states), states=states)
        for shape, box in zip(answer["shapes"], truth, strict=True):
            assert box_iou(shape["points"], box) > 0.75


def test_objects_of_one_call_are_tracked_like_single_ones(
    function: Function, clip: list[Frame]
) -> None:
    started = call(function, clip[0][0], shapes=rectangles(clip[0][1]))
    together = call(function, clip[1][0], states=started["states"])
    alone = [call(function, clip[1][0], states=[state])["shapes"][0] for state in started["states"]]
    for one, other in zip(together["shapes"], alone, strict=True):
        assert np.allclose(one["points"], other["points"], atol=0.1)


def test_box_of_an_object_that_does_not_move_stays(function: Function, clip: list[Frame]) -> None:
    frame, boxes = clip[0]
    states = call(function, frame, shapes=rectangles(boxes))["states"]
    for _ in range(5):
        answer = call(function, frame, states=states)
        states = answer["states"]
    for shape, box in zip(answer["shapes"], boxes, strict=True):
        assert np.allclose(shape["points"], box, atol=1.5)


def test_a_call_may_start_one_object_and_follow_another(
    function: Function, clip: list[Frame]
) -> None:
    first = call(function, clip[0][0], shapes=rectangles(clip[0][1][:1]))
    shapes = [None, *rectangles(clip[1][1][1:])]
    answer = call(function, clip[1][0], shapes=shapes, states=[first["states"][0], None])
    assert box_iou(answer["shapes"][0]["points"], clip[1][1][0]) > 0.8
    assert answer["shapes"][1] == shapes[1]


@pytest.mark.parametrize("box", [[60, 150, 132, 246], [100, 100, 200, 200], [0, 0, 640, 20]])
def test_state_is_json_of_less_than_22500_bytes(
    function: Function, clip: list[Frame], box: list[float]
) -> None:
    [state] = call(function, clip[0][0], shapes=rectangles([box]))["states"]
    assert set(state) == {"version", "box", "fill", "kernels"}
    assert len(json.dumps(state)) < 22_500  # squares have the largest kernels


def test_box_of_an_object_that_leaves_the_picture_is_clipped_and_complete_after_its_return(
    function: Function, clip: list[Frame]
) -> None:
    """The picture is shifted to the right until half of the cup is outside, and back."""
    frame, (_, cup) = clip[0]
    left, _, right, _ = cup
    answer = call(function, frame, shapes=rectangles([cup]))
    for shift in (30, 60, 90, 110, 90, 60, 30, 0):
        moved = np.roll(frame, shift, axis=1)
        moved[:, :shift] = frame[:, :1]  # np.roll moves pixels to the left side: overwrite them
        answer = call(function, moved, states=answer["states"])
        x0, y0, x1, y1 = answer["shapes"][0]["points"]
        assert 0 <= x0 < x1 <= 640
        assert 0 <= y0 < y1 <= 480
        assert abs(x0 - (left + shift)) < 12
    assert box_iou(answer["shapes"][0]["points"], cup) > 0.8
    [state] = answer["states"]
    assert state["box"][2] - state["box"][0] == pytest.approx(right - left, abs=12)


def test_a_lost_object_stays_inside_a_smaller_frame(function: Function, clip: list[Frame]) -> None:
    states = call(function, clip[0][0], shapes=rectangles(clip[0][1]))["states"]
    blank = np.full((60, 80, 3), 90, dtype=np.uint8)
    for shape in call(function, blank, states=states)["shapes"]:
        x0, y0, x1, y1 = shape["points"]
        assert 0 <= x0 < x1 <= 80
        assert 0 <= y0 < y1 <= 60


@pytest.mark.parametrize(
    "box", [[0, 0, 640, 20], [0, 0, 15, 480], [0, 0, 640, 480], [10, 10, 15, 16]]
)
def test_boxes_of_extreme_proportions_are_tracked(
    function: Function, clip: list[Frame], box: list[float]
) -> None:
    states = call(function, clip[0][0], shapes=rectangles([box]))["states"]
    [shape] = call(function, clip[1][0], states=states)["shapes"]
    assert len(shape["points"]) == 4
    assert np.isfinite(shape["points"]).all()


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "'shapes' and 'states' are empty"),
        ({"shapes": [None]}, "'shapes[0]' is empty and has no state"),
        ({"shapes": [{"type": "polygon", "points": [1, 2]}]}, "'shapes[0]' is of type 'polygon'"),
        ({"shapes": [{"type": "rectangle", "points": [1, 2, 3]}]}, "'shapes[0].points' is not"),
        ({"shapes": [{"type": "rectangle", "points": [1, 2, 3, 10**400]}]}, "'shapes[0].points' h"),
        (
            {"shapes": [{"type": "rectangle", "points": [1, 2, 3, 4]}]},
            "'shapes[0].points' is less than 4 px",
        ),
        (
            {"shapes": [{"type": "rectangle", "points": [900, 0, 950, 9]}]},
            "'shapes[0].points' lies",
        ),
        ({"states": ["x"]}, "'states[0]' is not a state of this function"),
        ({"states": [{"version": 1, "box": [1, 2, 30, 40]}]}, "'states[0].fill' is not"),
        ({"states": [{"version": 1, "box": [1, 2, 1e9, 40]}]}, "'states[0].box' holds a number"),
    ],
)
def test_invalid_body_is_400_with_a_message(
    function: Function, body: dict[str, Any], sentence: str
) -> None:
    status, answer = function(FUNCTIONS[0]).invoke({"image": encoded("coffee"), **body})
    assert status == 400
    assert answer["error"].startswith(sentence)


@pytest.mark.parametrize("kernel", [0, 1])
def test_state_with_a_kernel_of_another_shape_is_400(
    function: Function, clip: list[Frame], kernel: int
) -> None:
    [state] = call(function, clip[0][0], shapes=rectangles(clip[0][1][:1]))["states"]
    state["kernels"][kernel] = {"data": "AAA=", "shape": [1, 1, 1], "dtype": "float16"}
    status, answer = function(FUNCTIONS[0]).invoke({"image": encode(clip[1][0]), "states": [state]})
    assert status == 400
    assert "send the shape instead" in answer["error"]
