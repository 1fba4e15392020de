"""What interactors, trackers and re-identification may answer to a call."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_lambda.annotations.answers import (
    check_interactor_answer,
    check_reid_answer,
    check_tracker_answer,
)
from cvat_lambda.annotations.errors import AnswerError

MASK = [[0, 255, 0], [0, 255, 255]]
SIZE = (3, 2)


def test_a_mask_of_the_whole_image_needs_no_bounds() -> None:
    assert check_interactor_answer({"mask": MASK}, image_size=SIZE) == {"mask": MASK}


def test_a_mask_with_bounds_is_a_part_of_the_image() -> None:
    answer = {"mask": MASK, "bounds": [4, 5, 6.0, 6], "points": [[4.5, 5]], "extra": 1}
    assert check_interactor_answer(answer, image_size=(20, 10)) == {
        "mask": MASK,
        "bounds": [4, 5, 6, 6],
        "points": [[4.5, 5]],
    }


def test_a_blob_is_passed_through() -> None:
    assert check_interactor_answer({"blob": "AAAA"}, image_size=SIZE) == {"blob": "AAAA"}


def test_the_answer_for_a_part_of_an_image_is_moved_to_the_whole() -> None:
    answer = {"mask": MASK, "bounds": [1, 2, 3, 3], "points": [[1, 2], [3.5, 3]]}
    checked = check_interactor_answer(answer, image_size=(100, 80), offset=(40, 30))
    assert checked["bounds"] == [41, 32, 43, 33]
    assert checked["points"] == [[41, 32], [43.5, 33]]


@pytest.mark.parametrize("offset", [(40, 30), (0, 0)])
def test_a_mask_of_a_part_alone_gets_its_bounds(offset: tuple[int, int]) -> None:
    checked = check_interactor_answer(
        {"mask": MASK}, image_size=(100, 80), offset=offset, roi_size=SIZE
    )
    x, y = offset
    assert checked["bounds"] == [x, y, x + 2, y + 1]


def test_an_empty_mask_comes_with_no_points_so_that_the_ui_draws_nothing() -> None:
    mask = [[0, 0, 0]] * 2
    assert check_interactor_answer({"mask": mask}, image_size=SIZE) == {"mask": mask, "points": []}


@pytest.mark.parametrize(
    "mask", [[[0, 1, 1]] * 2, [[0.0, 1.0, 0.0]] * 2, [[True, False, True]] * 2]
)
def test_two_values_of_any_kind_of_number_are_a_mask(mask: Any) -> None:
    assert check_interactor_answer({"mask": mask}, image_size=SIZE)["mask"] == mask


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
        ({"mask": [[0, 1, 1], [0, math.nan, 0]]}, "mask[1]", "finite"),
        ({"mask": [[0, 1, 1], [0, "1", 0]]}, "mask[1]", "numbers"),
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
        ({"blob": 5}, "blob", "expected text, not a number"),
    ],
)
def test_a_wrong_interactor_answer_is_named(answer: Any, field: str, sentence: str) -> None:
    with pytest.raises(AnswerError) as error:
        check_interactor_answer(answer, image_size=SIZE)
    assert error.value.field == field
    assert sentence in error.value.message


def test_a_tracker_answers_shapes_and_states() -> None:
    answer = {
        "shapes": [{"type": "polygon", "points": [1, 2, 3, 4, 5, 6], "more": 1}, None],
        "states": [{"a": 1}, None],
    }
    shapes, states = check_tracker_answer(answer, expected=2, shape_types=("polygon",))
    assert shapes == [{"type": "polygon", "points": [1, 2, 3, 4, 5, 6]}, None]
    assert states == [{"a": 1}, None]


def test_bare_points_of_older_trackers_are_rectangles() -> None:
    answer = {"shapes": [[1, 2, 3, 4]], "states": ["s"]}
    shapes, states = check_tracker_answer(answer, expected=1, shape_types=["rectangle"])
    assert shapes == [{"type": "rectangle", "points": [1, 2, 3, 4]}]
    assert states == ["s"]


def test_a_tracker_may_answer_no_shapes_when_it_begins() -> None:
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
        ({"shapes": [{"points": [1]}], "states": [1]}, 0, "shapes.type", "null is no shape type"),
        ({"shapes": [[1, 2, 3]], "states": [1]}, 0, "shapes.points", "4 numbers, but 3"),
        ({"shapes": [[1, 2, 3, math.nan]], "states": [1]}, 0, "shapes.points", "finite"),
    ],
)
def test_a_wrong_tracker_answer_is_named(
    answer: Any, item: int | None, field: str, sentence: str
) -> None:
    with pytest.raises(AnswerError) as error:
        check_tracker_answer(answer, expected=1, shape_types=["rectangle"])
    assert (error.value.item, error.value.field) == (item, field)
    assert sentence in error.value.message


@pytest.mark.parametrize(
    ("answer", "n0", "n1"), [([], 0, 3), ([-1, 1, 0.0], 3, 2), ([-1, -1], 2, 0)]
)
def test_a_matching_has_an_index_for_each_box(answer: Any, n0: int, n1: int) -> None:
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
def test_a_wrong_matching_is_named(answer: Any, item: int | None, sentence: str) -> None:
    with pytest.raises(AnswerError) as error:
        check_reid_answer(answer, 2, 3)
    assert error.value.item == item
    assert sentence in error.value.message


NUMBERS = st.integers(-2, 4) | st.floats() | st.sampled_from([None, "1", True, 10**400])
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
def test_any_answer_is_accepted_or_refused_with_an_answer_error(answer: Any) -> None:
    with suppress(AnswerError):
        checked = check_interactor_answer(answer, image_size=SIZE, offset=(1, 1))
        assert "mask" in checked or "blob" in checked
    with suppress(AnswerError):
        found, states = check_tracker_answer(answer, expected=2, shape_types=("rectangle", "mask"))
        assert len(found) == len(states) == 2
    with suppress(AnswerError):
        assert len(check_reid_answer(answer, 2, 2)) == 2


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 2**16),
)
def test_a_placed_mask_lies_where_its_part_of_the_image_lay(
    width: int, height: int, x: int, y: int, seed: int
) -> None:
    rows = (np.random.default_rng(seed).random((height, width)) < 0.5).astype(int).tolist()
    checked = check_interactor_answer(
        {"mask": rows}, image_size=(20, 20), offset=(x, y), roi_size=(width, height)
    )
    assert checked["bounds"] == [x, y, x + width - 1, y + height - 1]
    assert checked["mask"] == rows
