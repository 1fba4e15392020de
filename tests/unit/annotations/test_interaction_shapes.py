"""The shapes that agents of native interactors answer, drawn as one mask."""

from __future__ import annotations

from typing import Any

import pytest

from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.annotations.interaction_shapes import mask_of_shapes


def shape(kind: object, points: object) -> dict[str, Any]:
    return {"type": kind, "points": points}


def test_several_shapes_become_one_mask_with_its_bounds() -> None:
    answer = {
        "shapes": [
            shape("polygon", [1, 1, 3, 1, 3, 3, 1, 3]),
            shape("mask", [0, 1, 4, 2, 4, 2]),  # one pixel
        ]
    }
    assert mask_of_shapes(answer, image_size=(8, 6)) == {
        "mask": [[1, 1, 0, 0], [1, 1, 0, 1]],
        "bounds": [1, 1, 4, 2],
    }


@pytest.mark.parametrize(
    "shapes",
    [[], [shape("polygon", [20, 20, 30, 20, 30, 30])], [shape("polygon", [1, 1, 3, 1, 2, 1])]],
    ids=["no shape", "outside of the image", "without an area"],
)
def test_shapes_without_a_pixel_in_the_image_become_an_empty_mask(shapes: list[Any]) -> None:
    assert mask_of_shapes({"shapes": shapes}, image_size=(8, 6)) == {
        "mask": [[0]],
        "bounds": [0, 0, 0, 0],
        "points": [],
    }


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ([], "expected an object, not an array"),
        ({"shapes": None}, "expected an array, not null"),
        ({"shapes": ["car"]}, "expected an object, not text"),
        ({"shapes": [shape("rectangle", [1, 1, 2, 2])]}, "'rectangle' is not a shape that an"),
        ({"shapes": [shape("polygon", [0, 0, 30000, 0, 0, 30000])]}, "too large for a mask"),
    ],
)
def test_answer_that_is_no_mask_raises_an_error(answer: object, sentence: str) -> None:
    with pytest.raises(AnswerError, match=sentence):
        mask_of_shapes(answer, image_size=(8, 6))
