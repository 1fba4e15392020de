from __future__ import annotations

from typing import Any

import pytest
from common.errors import BadInput
from common.inputs import read_body, read_box, read_boxes, read_number, read_points, read_threshold
from nuclio_sdk import Event


@pytest.mark.parametrize("body", [{"a": 1}, b'{"a": 1}', '{"a": 1}'])
def test_a_body_is_read_parsed_or_raw(body: object) -> None:
    # Nuclio leaves bytes when the content type says "; charset=utf-8".
    assert read_body(Event(body=body)) == {"a": 1}


@pytest.mark.parametrize("body", [None, b"", b"{", [], b"[1]", 3])
def test_a_body_that_is_not_a_json_object_is_bad_input(body: object) -> None:
    with pytest.raises(BadInput, match="the body is not"):
        read_body(Event(body=body))


@pytest.mark.parametrize(
    ("sent", "expected"), [({}, 0.5), ({"threshold": None}, 0.5), ({"threshold": 0}, 0.0),
                           ({"threshold": 1}, 1.0), ({"threshold": 0.25}, 0.25)]
)  # fmt: skip
def test_threshold_from_0_to_1_is_accepted(sent: dict[str, Any], expected: float) -> None:
    assert read_threshold(sent, 0.5) == expected


ENDLESS = 10**400  # valid JSON, but outside the range of floats


@pytest.mark.parametrize(
    "value",
    [-0.1, 1.1, "0.5", True, [], float("nan"), float("inf"), pytest.param(ENDLESS, id="endless")],
)
def test_a_threshold_outside_0_to_1_or_of_another_type_is_bad_input(value: object) -> None:
    with pytest.raises(BadInput, match="'threshold'"):
        read_threshold({"threshold": value}, 0.5)


def test_a_number_may_be_zero_and_null_is_the_default() -> None:
    assert read_number({"n": 0}, "n", 9.0) == 0.0
    assert read_number({"n": None}, "n", 9.0) == 9.0


def test_points_are_read_as_pairs() -> None:
    assert read_points({"p": [[1, 2], [3.5, 4]]}, "p").tolist() == [[1, 2], [3.5, 4]]
    assert read_points({"p": None}, "p").shape == (0, 2)
    assert read_points({"p": []}, "p").shape == (0, 2)


@pytest.mark.parametrize(
    "value", ["x", [1, 2], [[1]], [[1, 2, 3]], [[1, "2"]], [[1, None]], {}, [[1, ENDLESS]]]
)
def test_points_that_are_not_pairs_are_bad_input(value: object) -> None:
    with pytest.raises(BadInput, match="'p'"):
        read_points({"p": value}, "p")


@pytest.mark.parametrize(
    "value",
    [
        [[1, 2], [3, 4]],
        [[3, 4], [1, 2]],  # drawn from the bottom right
        [[3, 2], [1, 4]],
        [1, 2, 3, 4],
    ],
)
def test_corners_of_a_box_are_sorted(value: object) -> None:
    box = read_box({"obj_bbox": value})
    assert box is not None
    assert box.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("value", [None, []])
def test_a_missing_box_is_none(value: object) -> None:
    assert read_box({"obj_bbox": value}) is None


def test_a_box_of_one_corner_is_bad_input() -> None:
    with pytest.raises(BadInput, match="'obj_bbox' has 1 corners"):
        read_box({"obj_bbox": [[1, 2]]})


def test_boxes_of_reid_need_four_numbers() -> None:
    boxes = [{"points": [1, 2, 3, 4], "label_id": 5}]
    assert read_boxes({"boxes0": boxes}, "boxes0") == boxes
    with pytest.raises(BadInput, match="'boxes0'"):
        read_boxes({"boxes0": [{"points": [1, 2]}]}, "boxes0")
    with pytest.raises(BadInput, match="'boxes0'"):
        read_boxes({"boxes0": [{"points": [1, 2, 3, ENDLESS]}]}, "boxes0")
    with pytest.raises(BadInput, match="'boxes1' is missing"):
        read_boxes({}, "boxes1")
