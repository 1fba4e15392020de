"""Calls of trackers: shapes start objects, states continue them, invalid ones are refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from common.errors import BadInput, StateUnknown
from common.images import encode_png
from common.tracking import MAX_FRAMES, BoxTracker, read_numbers, track

SERVERLESS = Path(__file__).resolve().parents[4] / "serverless"
IMAGE = encode_png(np.zeros((60, 80, 3), dtype=np.uint8))


class ShiftingTracker(BoxTracker[np.ndarray]):
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


class BusyTracker(ShiftingTracker):
    """A tracker that refuses to start or to follow nothing: either would read the whole image."""

    def start(self, image: np.ndarray, boxes: Sequence[np.ndarray]) -> list[np.ndarray]:
        assert boxes
        return super().start(image, boxes)

    def follow(self, image: np.ndarray, targets: Sequence[np.ndarray]) -> list[np.ndarray]:
        assert targets
        return super().follow(image, targets)


@pytest.mark.parametrize(
    "body", [{"shapes": [[0, 0, 20, 20]]}, {"states": [{"version": 7, "box": [0, 0, 20, 20]}]}]
)
def test_a_call_that_starts_or_follows_nothing_does_not_ask_the_tracker_to(
    body: dict[str, Any],
) -> None:
    assert len(track({"image": IMAGE, **body}, BusyTracker())["states"]) == 1


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


# --- clips ----------------------------------------------------------------------------------------


class RoundingTracker(ShiftingTracker):
    """A tracker whose states hold less than its targets: whole pixels."""

    def follow(self, image: np.ndarray, targets: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [target + 0.4 for target in targets]

    def write_state(self, target: np.ndarray) -> dict[str, Any]:
        return {"box": np.round(target).tolist()}


@pytest.mark.parametrize("tracker", [ShiftingTracker(), RoundingTracker()])
@pytest.mark.parametrize("length", [1, 3, 16])
def test_clip_is_answered_like_single_calls(tracker: ShiftingTracker, length: int) -> None:
    start = {"shapes": [None, rectangle(3, 5, 33, 20)], "states": [{"version": 7, "box": [1] * 4}]}
    single = [track({"image": IMAGE, **start}, tracker)]
    for _ in range(length - 1):
        single.append(track({"image": IMAGE, "states": single[-1]["states"]}, tracker))
    clip = track({"images": [IMAGE] * length, **start}, tracker)
    assert clip == {
        "results": [answer["shapes"] for answer in single],
        "states": single[-1]["states"],
    }


def test_unreadable_frame_of_a_clip_fails_alone_and_the_objects_are_followed_on_the_next() -> None:
    state = {"version": 7, "box": [0, 0, 20, 20]}
    answer = track({"images": ["x", IMAGE, "x", IMAGE], "states": [state]}, ShiftingTracker())
    assert [isinstance(each, dict) for each in answer["results"]] == [True, False, True, False]
    assert answer["results"][0]["error"].startswith("'images[0]'")
    assert answer["results"][3] == [rectangle(20, 0, 40, 20)]
    assert answer["states"] == [{"version": 7, "box": [20, 0, 40, 20]}]


def test_clip_of_unreadable_frames_leaves_the_objects_where_they_were() -> None:
    state = {"version": 7, "box": [0, 0, 20, 20]}
    answer = track({"images": ["x", "x"], "states": [state]}, ShiftingTracker())
    assert [list(each) for each in answer["results"]] == [["error"], ["error"]]
    assert answer["states"] == [state]


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        ([], "'images' is not a list of images"),
        ("x", "'images' is not a list of images"),
        ([IMAGE] * 17, "'images' has 17 entries; at most 16"),
        (["x", IMAGE], "'images[0]'"),  # the objects start there
    ],
)
def test_invalid_clip_is_refused(images: object, sentence: str) -> None:
    with pytest.raises(BadInput, match=re.escape(sentence)):
        track({"images": images, "shapes": [[1, 2, 30, 40]]}, ShiftingTracker())


@pytest.mark.parametrize("file", sorted(SERVERLESS.glob("*/*/*/function*.yaml")), ids=str)
def test_announced_length_of_clips_is_the_accepted_one(file: Path) -> None:
    annotations = yaml.safe_load(file.read_text(encoding="utf-8"))["metadata"]["annotations"]
    expected = str(MAX_FRAMES) if annotations["type"] == "tracker" else None
    assert annotations.get("max_frames") == expected


class ForgetfulTracker(ShiftingTracker):
    """A tracker that knows the states of boxes at the left border only."""

    def read_state(self, state: dict[str, Any], name: str) -> np.ndarray:
        box = super().read_state(state, name)
        if box[0] > 0:
            raise StateUnknown([0])
        return box


def test_states_that_are_not_in_memory_are_named_by_their_numbers_in_the_call() -> None:
    states = [{"version": 7, "box": [left, 0, 20, 20]} for left in (5, 0, 5)]
    with pytest.raises(StateUnknown) as caught:
        track({"image": IMAGE, "states": states}, ForgetfulTracker())
    assert caught.value.objects == [0, 2]
