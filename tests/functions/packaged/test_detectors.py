"""The packaged detectors find the known objects on the sample photographs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.functions.packaged.photographs import box_iou, encoded, flat, hand_mask, mask_iou

PERSONS = "openvino-ssdlite-person"
COCO = "openvino-nanodet-coco"
MASKS = "openvino-nanodet-sam-masks"
FACES = "openvino-centerface-attributes"
POSES = "openvino-movenet-pose"
FUNCTIONS = (PERSONS, COCO, MASKS, FACES, POSES)

pytestmark = pytest.mark.models
Function = Callable[[str], Any]

# Measured by hand on the photographs: x0, y0, x1, y1.
ASTRONAUT = [5, 5, 380, 511]
CAMERAMAN = [3, 68, 315, 511]
ASTRONAUT_FACE = [176, 62, 273, 180]
CUP = [173, 18, 408, 305]


def found(function: Function, name: str, photograph: str, **options: object) -> list[Any]:
    status, items = function(name).invoke({"image": encoded(photograph), **options})
    assert status == 200
    return list(items)


@pytest.mark.parametrize("name", [PERSONS, COCO])
@pytest.mark.parametrize(("photograph", "box"), [("astronaut", ASTRONAUT), ("camera", CAMERAMAN)])
def test_person_is_found_at_the_known_box(
    function: Function, name: str, photograph: str, box: list[float]
) -> None:
    [item] = found(function, name, photograph)
    assert item["label"] == "person"
    assert box_iou(item["points"], box) > 0.9
    assert item["confidence"] > 0.7


@pytest.mark.parametrize("photograph", ["chelsea", "coffee"])
@pytest.mark.parametrize("name", [PERSONS, FACES, POSES])
def test_photograph_without_a_person_has_no_items(
    function: Function, name: str, photograph: str
) -> None:
    assert found(function, name, photograph) == []


def test_cup_is_found_at_the_known_box(function: Function) -> None:
    [item] = found(function, COCO, "coffee")
    assert item["label"] == "cup"
    assert box_iou(item["points"], CUP) > 0.55  # the box has a part of the saucer


def test_cat_is_found_with_the_label_cat(function: Function) -> None:
    assert "cat" in [item["label"] for item in found(function, COCO, "chelsea")]


def test_mask_of_the_astronaut_covers_her_and_not_the_background(function: Function) -> None:
    [item] = found(function, MASKS, "astronaut")
    assert item["label"] == "person"
    mask = flat(item, (512, 512))
    for x, y in [(225, 120), (220, 300), (100, 300), (320, 310), (225, 40)]:
        assert mask[y, x], f"({x}, {y}) is her face, suit or hair"
    for x, y in [(20, 20), (480, 300), (400, 100), (400, 430)]:
        assert not mask[y, x], f"({x}, {y}) is background"
    assert len(item["points"]) >= 6
    assert len(item["points"]) % 2 == 0


def test_mask_of_the_cameraman_does_not_cover_the_tripod(function: Function) -> None:
    [item] = found(function, MASKS, "camera")
    mask = flat(item, (512, 512))
    for x, y in [(225, 85), (100, 250), (150, 480), (60, 400)]:
        assert mask[y, x], f"({x}, {y}) is his hair, coat or leg"
    assert not mask[330:, 250:].any(), "there are the tripod and the meadow"


def test_mask_of_the_cup_is_inside_the_cup_and_its_saucer(function: Function) -> None:
    [item] = found(function, MASKS, "coffee")
    mask = flat(item, (400, 600))
    assert mask_iou(mask, hand_mask("coffee_cup_and_saucer")) > 0.7
    assert (mask & ~hand_mask("coffee_cup_and_saucer")).sum() < 0.05 * mask.sum()
    assert (mask & hand_mask("coffee_cup")).sum() > 0.9 * hand_mask("coffee_cup").sum()


def test_face_of_the_astronaut_has_the_right_attributes(function: Function) -> None:
    [face] = found(function, FACES, "astronaut")
    assert box_iou(face["points"], ASTRONAUT_FACE) > 0.75
    attributes = {each["name"]: each["value"] for each in face["attributes"]}
    assert attributes["emotion"] == "happy"
    assert attributes["gender"] == "female"
    assert 25 <= int(attributes["age"]) <= 45  # she was 42


def test_the_cameramans_face_is_found(function: Function) -> None:
    [face] = found(function, FACES, "camera")
    assert box_iou(face["points"], [200, 118, 258, 198]) > 0.7


def test_key_points_of_the_astronaut_are_at_the_known_positions(function: Function) -> None:
    [person] = found(function, POSES, "astronaut")
    by_name = {element["label"]: element for element in person["elements"]}
    # Measured by hand on the photograph. Left is the astronaut's left.
    expected = {
        "nose": (223, 125),
        "left_eye": (245, 105),
        "right_eye": (205, 105),
        "left_shoulder": (322, 265),
        "right_shoulder": (98, 258),
    }
    for name, (x, y) in expected.items():
        element = by_name[name]
        assert element["outside"] == 0
        assert abs(element["points"][0] - x) < 15, name
        assert abs(element["points"][1] - y) < 15, name
    for name in ("left_knee", "right_knee", "left_ankle", "right_ankle"):
        assert by_name[name]["outside"] == 1, f"{name} is not on the photograph"


def test_threshold_of_zero_returns_a_bounded_number_of_items(function: Function) -> None:
    most = {PERSONS: 100, COCO: 100, MASKS: 40, FACES: 100, POSES: 40}
    for name, count in most.items():
        assert 1 <= len(found(function, name, "astronaut", threshold=0)) <= count, name


def test_key_points_of_the_cameraman_are_in_vertical_order(function: Function) -> None:
    [person] = found(function, POSES, "camera")
    heights = {element["label"]: element["points"][1] for element in person["elements"]}
    assert heights["nose"] < heights["left_shoulder"] < heights["left_hip"] < heights["left_knee"]
