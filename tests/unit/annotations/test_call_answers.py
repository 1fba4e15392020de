"""Validation of answers of interactors, trackers and ReID functions to a call."""

from __future__ import annotations

import base64
import json
import math
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.annotations.interactor_answer import check_interactor_answer
from cvat_lambda.annotations.placement import Placement
from cvat_lambda.annotations.reid_answer import check_reid_answer
from cvat_lambda.annotations.shapes import check_points
from cvat_lambda.annotations.tracker_answer import check_tracker_answer

MASK = [[0, 255, 0], [0, 255, 255]]
SIZE = (3, 2)


def test_mask_of_the_whole_image_is_accepted_without_bounds() -> None:
    assert check_interactor_answer({"mask": MASK}, image_size=SIZE) == {"mask": MASK}


def test_a_mask_with_bounds_is_a_part_of_the_image() -> None:
    outline = [[4.5, 5], [6, 5], [6, 7]]
    answer = {"mask": MASK, "bounds": [4, 5, 6.0, 6], "points": outline, "extra": 1}
    assert check_interactor_answer(answer, image_size=(20, 10)) == {
        "mask": MASK,
        "bounds": [4, 5, 6, 6],
        "points": outline,
    }


def test_a_blob_is_passed_through() -> None:
    assert check_interactor_answer({"blob": "AAAA"}, image_size=SIZE) == {"blob": "AAAA"}


@pytest.mark.parametrize("blob", ["AA==", "AAA=", "a+/9", base64.b64encode(bytes(1000)).decode()])
def test_any_base64_text_is_accepted_as_blob(blob: str) -> None:
    assert check_interactor_answer({"blob": blob}, image_size=SIZE) == {"blob": blob}


def test_a_blob_of_a_region_is_refused() -> None:
    """The browser would use it for the whole image."""
    with pytest.raises(AnswerError, match="for the whole image") as error:
        check_interactor_answer(
            {"blob": "AAAA"}, image_size=(9, 9), placement=Placement(size=(3, 2))
        )
    assert error.value.field == "blob"


def test_answer_for_a_region_is_moved_to_image_coordinates() -> None:
    answer = {"mask": MASK, "bounds": [1, 2, 3, 3], "points": [[1, 2], [3.5, 3], [1, 4]]}
    checked = check_interactor_answer(
        answer, image_size=(100, 80), placement=Placement(offset=(40, 30))
    )
    assert checked["bounds"] == [41, 32, 43, 33]
    assert checked["points"] == [[41, 32], [43.5, 33], [41, 34]]


def test_polygon_of_an_interactor_is_clipped_to_the_image() -> None:
    answer = {"mask": MASK, "points": [[-5, 0], [1, 0], [1, 99], [-5, 99]]}
    checked = check_interactor_answer(answer, image_size=SIZE)
    assert sorted(checked["points"]) == [[0, 0], [0, 2], [1, 0], [1, 2]]


def test_polygon_outside_the_image_is_removed_from_the_answer() -> None:
    answer: dict[str, Any] = {"mask": MASK, "points": [[10, 10], [12, 10], [12, 12]]}
    assert check_interactor_answer(answer, image_size=SIZE) == {"mask": MASK}
    # For a region, too, the polygon is compared with the whole image.
    answer["bounds"] = [1, 2, 3, 3]
    checked = check_interactor_answer(
        answer, image_size=(60, 60), placement=Placement(offset=(40, 40))
    )
    assert checked["points"] == [[50, 50], [52, 50], [52, 52]]


@pytest.mark.parametrize("offset", [(40, 30), (0, 0)])
def test_mask_of_a_region_without_bounds_gets_the_bounds_of_the_region(
    offset: tuple[int, int],
) -> None:
    checked = check_interactor_answer(
        {"mask": MASK}, image_size=(100, 80), placement=Placement(offset=offset, size=SIZE)
    )
    x, y = offset
    assert checked["bounds"] == [x, y, x + 2, y + 1]


def test_empty_mask_is_returned_without_points() -> None:
    mask = [[0, 0, 0]] * 2
    assert check_interactor_answer({"mask": mask}, image_size=SIZE) == {"mask": mask, "points": []}


@pytest.mark.parametrize(
    "mask",
    [
        [[0, 1, 1]] * 2,
        [[0.0, 1.0, 0.0]] * 2,
        [[True, False, True]] * 2,
        [[False, 1, 1.0]] * 2,
        [[0, 1000, 1000], [1000.0, 0, 0]],
        [[0, 0, 0], [0, 255, 0]],
    ],
)
def test_mask_of_two_values_of_any_number_type_becomes_integers(mask: object) -> None:
    checked = check_interactor_answer({"mask": mask}, image_size=SIZE)["mask"]
    assert checked == mask
    assert {type(pixel) for row in checked for pixel in row} == {int}


@pytest.mark.parametrize(
    ("answer", "field", "sentence"),
    [
        ([[1, 2], [3, 4]], "", "expected an object, not an array"),
        ({}, "mask", "must answer a mask (or a blob)"),
        ({"mask": "AAAA"}, "mask", "expected an array, not text"),
        ({"mask": []}, "mask", "the mask has no rows"),
        ({"mask": [0, 1, 0]}, "mask[0]", "expected an array, not a number"),
        ({"mask": [[]]}, "mask[0]", "rows must be of one length"),
        ({"mask": [[0, 1, 0], [0, 1]]}, "mask[1]", "has 2 pixels, the first one 3"),
        ({"mask": [[0, 1, 2], [0, 0, 0]]}, "mask[0]", "a mask has two values, 0 and one other"),
        ({"mask": [[0, 1, 1], [0, 255, 0]]}, "mask[1]", "here are 0, 1, 255"),
        ({"mask": [[0, 1, 1], [0, math.nan, 0]]}, "mask[1]", "not nan"),
        ({"mask": [[0, 1, 1], [0, "1", 0]]}, "mask[1]", "whole numbers, zero or more, not '1'"),
        ({"mask": [[0, 0.5, 1], [0, 0, 0]]}, "mask[0]", "whole numbers, zero or more, not 0.5"),
        ({"mask": [[0, -1, 0], [0, 0, 0]]}, "mask[0]", "whole numbers, zero or more, not -1"),
        ({"mask": [[0, 10**400, 0], [0, 0, 0]]}, "mask[0]", "not a number"),
        ({"mask": [[0, None, 0], [0, 0, 0]]}, "mask[0]", "not null"),
        ({"mask": [[0, 300, 0], [0, 0, 400]]}, "mask[1]", "here are 0, 300, 400"),
        ({"mask": [[True, 255, 0], [0, 0, 0]]}, "mask[0]", "here are 0, 1, 255"),
        (
            {"mask": [[0, 1]]},
            "mask",
            "is of 2 x 1 pixels and has no bounds, but the image is of 3 x",
        ),
        ({"mask": MASK, "bounds": [0, 0, 3, 2]}, "bounds", "are of 4 x 3 pixels"),
        ({"mask": MASK, "bounds": [0, 0, 2]}, "bounds", "[left, top, right, bottom]"),
        ({"mask": MASK, "bounds": [0, 0, 2.5, 1]}, "bounds", "whole pixels"),
        ({"mask": MASK, "bounds": [1, 0, 3, 1]}, "bounds", "reaches beyond the image of 3 x 2"),
        ({"mask": MASK, "points": [[1, 2, 3]]}, "points[0]", "a pair of finite numbers"),
        ({"mask": MASK, "points": [[1, math.inf]]}, "points[0]", "a pair of finite numbers"),
        ({"mask": MASK, "points": [[1, 2]]}, "points", "three vertices or more"),
        ({"mask": MASK, "points": [[1, 2], [2, 2]]}, "points", "three vertices or more"),
        ({"blob": 5}, "blob", "expected text, not a number"),
        ({"blob": "\ud800"}, "blob", "base64"),
        ({"blob": ""}, "blob", "base64"),
        ({"blob": "AAA"}, "blob", "base64"),
        ({"blob": "AA=A"}, "blob", "base64"),
        ({"blob": "A==="}, "blob", "base64"),
        ({"blob": "AAA\n"}, "blob", "base64"),
        ({"blob": "AÄAA"}, "blob", "base64"),
    ],
)
def test_invalid_interactor_answer_raises_an_error_with_its_field(
    answer: object, field: str, sentence: str
) -> None:
    with pytest.raises(AnswerError) as error:
        check_interactor_answer(answer, image_size=SIZE)
    assert error.value.field == field
    assert sentence in error.value.message


def test_shapes_and_states_of_a_tracker_are_accepted() -> None:
    answer = {
        "shapes": [{"type": "polygon", "points": [1, 2, 3, 4, 5, 6], "more": 1}, None],
        "states": [{"a": 1}, None],
    }
    shapes, states = check_tracker_answer(answer, expected=2, shape_types=("polygon",))
    assert shapes == [{"type": "polygon", "points": [1, 2, 3, 4, 5, 6]}, None]
    assert states == [{"a": 1}, None]


def test_arrays_of_points_from_older_trackers_become_rectangles() -> None:
    answer = {"shapes": [[1, 2, 3, 4]], "states": ["s"]}
    shapes, states = check_tracker_answer(answer, expected=1, shape_types=["rectangle"])
    assert shapes == [{"type": "rectangle", "points": [1, 2, 3, 4]}]
    assert states == ["s"]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([1, 2, 30, 40], [1, 2, 30, 40]),
        ([-5, 2, 30, 70], [0, 2, 30, 50]),  # clipped
        ([30, 40, 1, 2], [1, 2, 30, 40]),  # corners in order
        ([200, 2, 230, 40], [100, 2, 100, 40]),  # beyond the right border
        ([-9, -9, -1, -1], [0, 0, 0, 0]),
        ([5, 5, 5, 9], [5, 5, 5, 9]),  # without area in the answer
    ],
)
def test_tracked_shape_is_clipped_to_the_image_or_put_on_its_border(
    points: object, expected: object
) -> None:
    answer = {"shapes": [{"type": "rectangle", "points": points}], "states": ["s"]}
    found, states = check_tracker_answer(
        answer, expected=1, shape_types=["rectangle"], image_size=(100, 50)
    )
    assert found == [{"type": "rectangle", "points": expected}]
    assert states == ["s"]


def test_tracked_mask_outside_the_image_becomes_none() -> None:
    mask = {"type": "mask", "points": [0, 4, 500, 500, 501, 501]}
    answer = {"shapes": [mask], "states": [1]}
    found, _ = check_tracker_answer(answer, expected=1, shape_types=["mask"], image_size=SIZE)
    assert found == [None]


@given(
    st.sampled_from(["rectangle", "polygon", "polyline", "points", "cuboid"]),
    st.lists(st.floats(-400, 400), min_size=16, max_size=16),
)
def test_tracked_shape_with_coordinates_never_becomes_none(
    shape_type: str, values: list[float]
) -> None:
    points = values[: {"rectangle": 4, "cuboid": 16}.get(shape_type, 8)]
    answer = {"shapes": [{"type": shape_type, "points": points}], "states": [1]}
    (found,), _ = check_tracker_answer(
        answer, expected=1, shape_types=[shape_type], image_size=SIZE
    )
    assert found is not None
    assert found["type"] == shape_type
    assert check_points(shape_type, found["points"]) == tuple(found["points"])


def test_error_about_a_tracked_object_has_the_number_of_the_caller() -> None:
    answer = {"shapes": [[1, 2, 3, 4], [1, 2]], "states": [1, 2]}
    with pytest.raises(AnswerError) as error:
        check_tracker_answer(answer, expected=2, shape_types=["rectangle"], items=[2, 5])
    assert error.value.item == 5


def test_tracked_mask_with_a_huge_box_is_refused() -> None:
    mask = {"type": "mask", "points": [0, 1 << 28, -1, -1, 16382, 16382]}
    with pytest.raises(AnswerError, match="too large"):
        check_tracker_answer(
            {"shapes": [mask], "states": [1]}, expected=1, shape_types=["mask"], image_size=SIZE
        )


def test_tracker_answer_without_shapes_is_accepted() -> None:
    answer = {"states": [1, 2]}
    assert check_tracker_answer(answer, expected=2, shape_types=["rectangle"])[0] == [None, None]


@pytest.mark.parametrize(
    ("answer", "item", "field", "sentence"),
    [
        ([], None, "", "expected an object, not an array"),
        ({"shapes": [None]}, None, "states", "expected an array, not null"),
        ({"shapes": [None], "states": []}, None, "states", "1 was expected"),
        ({"shapes": [], "states": [1]}, None, "shapes", "one an object, but 0 came"),
        ({"shapes": [5], "states": [1]}, 0, "shapes", "expected an object"),
        ({"shapes": [{"type": "mask"}], "states": [1]}, 0, "shapes.type", "it has rectangle"),
        (
            {"shapes": [{"points": [1]}], "states": [1]},
            0,
            "shapes.type",
            "null is not a shape type",
        ),
        ({"shapes": [[1, 2, 3]], "states": [1]}, 0, "shapes.points", "4 numbers, but 3"),
        ({"shapes": [[1, 2, 3, math.nan]], "states": [1]}, 0, "shapes.points", "finite"),
    ],
)
def test_invalid_tracker_answer_raises_an_error_with_item_and_field(
    answer: object, item: int | None, field: str, sentence: str
) -> None:
    with pytest.raises(AnswerError) as error:
        check_tracker_answer(answer, expected=1, shape_types=["rectangle"])
    assert (error.value.item, error.value.field) == (item, field)
    assert sentence in error.value.message


@pytest.mark.parametrize(
    ("answer", "n0", "n1"), [([], 0, 3), ([-1, 1, 0.0], 3, 2), ([-1, -1], 2, 0)]
)
def test_matching_with_an_index_for_each_box_is_accepted(answer: object, n0: int, n1: int) -> None:
    assert check_reid_answer(answer, n0, n1) == answer


@pytest.mark.parametrize(
    ("answer", "item", "sentence"),
    [
        ({}, None, "expected an array"),
        ([0], None, "2 indices were expected, one a box, but 1 came"),
        ([0, 3], 1, "expected -1 or an index below 3, not 3"),
        ([-2, 0], 0, "not -2"),
        ([0.5, 0], 0, "not 0.5"),
        ([True, 0], 0, "not True"),
        ([None, 0], 0, "not null"),
        ([1, 1], 1, "the box 1 is already matched with item 0"),
    ],
)
def test_invalid_matching_raises_an_error_with_its_item(
    answer: object, item: int | None, sentence: str
) -> None:
    with pytest.raises(AnswerError) as error:
        check_reid_answer(answer, 2, 3)
    assert error.value.item == item
    assert sentence in error.value.message


NUMBERS = (
    st.integers(-2, 4)
    | st.floats()
    | st.sampled_from([None, "1", True, 10**400, "\ud800", "AAAA", 0.5, 300])
)
JSON = st.recursive(
    NUMBERS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["mask", "points", "bounds", "blob", "shapes", "states", "type"]), inner
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_answer_is_accepted_or_refused_with_an_answer_error(answer: object) -> None:
    with suppress(AnswerError):
        checked = check_interactor_answer(
            answer, image_size=SIZE, placement=Placement(offset=(1, 1))
        )
        assert "mask" in checked or "blob" in checked
        json.dumps(checked, allow_nan=False, ensure_ascii=False).encode()
        assert all(type(pixel) is int for row in checked.get("mask", []) for pixel in row)
    with suppress(AnswerError):
        found, states = check_tracker_answer(
            answer, expected=2, shape_types=("rectangle", "mask"), image_size=SIZE
        )
        assert len(found) == len(states) == 2
        json.dumps(found, allow_nan=False)
    with suppress(AnswerError):
        assert len(check_reid_answer(answer, 2, 2)) == 2


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 2**16),
)
def test_mask_of_a_cropped_region_gets_the_bounds_of_the_region(
    width: int, height: int, x: int, y: int, seed: int
) -> None:
    rows = (np.random.default_rng(seed).random((height, width)) < 0.5).astype(int).tolist()
    checked = check_interactor_answer(
        {"mask": rows},
        image_size=(20, 20),
        placement=Placement(offset=(x, y), size=(width, height)),
    )
    assert checked["bounds"] == [x, y, x + width - 1, y + height - 1]
    assert checked["mask"] == rows


def test_run_lengths_of_an_interactor_give_the_mask_and_bounds_of_its_rows() -> None:
    rows = [[0, 255, 0], [255, 255, 0]]
    expected = check_interactor_answer(
        {"mask": rows, "bounds": [4, 2, 6, 3], "points": []}, image_size=(20, 10)
    )
    checked = check_interactor_answer(
        {"rle": [1, 1, 1, 2, 1, 4, 2, 6, 3], "points": []}, image_size=(20, 10)
    )
    assert checked["bounds"] == expected["bounds"] == [4, 2, 6, 3]
    assert json.loads(checked["mask"].text) == checked["mask"].tolist() == rows


def test_run_lengths_without_a_set_pixel_give_an_empty_mask_without_points() -> None:
    checked = check_interactor_answer({"rle": [4, 0, 0, 1, 1]}, image_size=(20, 10))
    assert (checked["mask"].tolist(), checked["points"]) == ([[0, 0], [0, 0]], [])


@pytest.mark.parametrize(
    "runs", ["x", [], [1, 2], [3, 0, 0, 1, 1], [-1, 5, 0, 0, 1, 1], [None] * 6]
)
def test_invalid_run_lengths_of_an_interactor_raise_an_error_of_their_field(runs: object) -> None:
    with pytest.raises(AnswerError, match="rle"):
        check_interactor_answer({"rle": runs}, image_size=(20, 10))


def test_blob_of_a_binary_answer_becomes_base64() -> None:
    assert check_interactor_answer({"blob": b"\0\0\0"}, image_size=SIZE) == {"blob": "AAAA"}
