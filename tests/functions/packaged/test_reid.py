"""Re-identification on pictures composed of the sample photographs, with known matches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.functions.packaged.photographs import encode, encoded
from tests.functions.packaged.scenes import SHIFT, thing_boxes, things

FUNCTIONS = ("openvino-reid-mobilenetv2",)

pytestmark = pytest.mark.models
Function = Callable[[str], Any]


def frame(brightness: float, shift: tuple[int, int], places: int = 0) -> str:
    return encode(things(brightness, shift, places))


def boxes(
    *, shift: tuple[int, int] = (0, 0), places: int = 0, label_id: int = 7
) -> list[dict[str, Any]]:
    return [
        {"type": "rectangle", "label_id": label_id, "points": points}
        for points in thing_boxes(shift, places)
    ]


def match(function: Function, **changes: object) -> list[int]:
    body: dict[str, Any] = {
        "image0": frame(1.0, (0, 0)),
        "image1": frame(0.85, SHIFT),
        "boxes0": boxes(),
        "boxes1": boxes(shift=SHIFT)[::-1],
        "threshold": 0.3,
        "max_distance": 50,
        **changes,
    }
    status, answer = function(FUNCTIONS[0]).invoke(body)
    assert status == 200, answer
    return list(answer)


@pytest.mark.parametrize(
    "max_distance", [50, 1000]
)  # with 1000 all are near, so appearance decides alone
def test_each_object_is_matched_to_its_box_on_the_second_frame(
    function: Function, max_distance: int
) -> None:
    assert match(function, max_distance=max_distance) == [2, 1, 0]


@pytest.mark.parametrize("places", [1, 2])
def test_objects_that_swapped_positions_are_matched_by_appearance(
    function: Function, places: int
) -> None:
    """At the old position of each object there is now another one."""
    moved = {
        "image1": frame(0.85, SHIFT, places),
        "boxes1": boxes(shift=SHIFT, places=places)[::-1],
        "max_distance": 1000,
    }
    assert match(function, **moved) == [2, 1, 0]


def test_an_object_missing_on_the_second_frame_is_not_matched(function: Function) -> None:
    left = boxes(shift=SHIFT)[:2]
    assert match(function, boxes1=left, max_distance=1000) == [0, 1, -1]


def test_objects_beyond_the_maximum_distance_are_not_matched(function: Function) -> None:
    assert match(function, max_distance=5) == [-1, -1, -1]


def test_objects_of_different_labels_are_not_matched(function: Function) -> None:
    assert match(function, boxes1=boxes(shift=SHIFT, label_id=8)) == [-1, -1, -1]


def test_threshold_of_zero_matches_identical_objects_only(function: Function) -> None:
    assert match(function, threshold=0) == [-1, -1, -1]


def test_call_without_a_threshold_uses_the_default(function: Function) -> None:
    assert match(function, threshold=None, max_distance=None) == [2, 1, 0]


@pytest.mark.parametrize(
    ("first", "second", "expected"), [([], boxes(), []), (boxes(), [], [-1] * 3)]
)
def test_call_without_boxes_returns_no_matches(
    function: Function, first: list[Any], second: list[Any], expected: list[int]
) -> None:
    assert match(function, boxes0=first, boxes1=second) == expected


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"image0": None}, "'image0' is missing"),
        ({"image1": "AAAA"}, "'image1' cannot be decoded"),
        ({"boxes0": None}, "'boxes0' is missing"),
        ({"boxes1": [{"points": [1, 2, 3]}]}, "'boxes1' holds a box whose 'points'"),
        ({"threshold": 2}, "'threshold' is 2; send a number from 0 to 1"),
        ({"max_distance": -1}, "'max_distance' is -1; send a number of at least 0"),
    ],
)
def test_invalid_body_is_400_with_a_message(
    function: Function, body: dict[str, Any], sentence: str
) -> None:
    picture = encoded("coffee")
    whole = {"image0": picture, "image1": picture, "boxes0": [], "boxes1": []}
    status, answer = function(FUNCTIONS[0]).invoke({**whole, **body})
    assert status == 400
    assert answer["error"].startswith(sentence)
