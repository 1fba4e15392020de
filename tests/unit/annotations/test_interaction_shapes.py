"""The shapes that agents of native interactors answer, drawn as one mask."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_lambda.annotations import contours, rle
from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.annotations.interaction_shapes import mask_of_shapes
from cvat_lambda.annotations.interactor_answer import check_interactor_answer


def shape(kind: object, points: object) -> dict[str, Any]:
    return {"type": kind, "points": points}


def test_several_shapes_become_one_mask_with_its_bounds() -> None:
    answer = {
        "shapes": [
            shape("polygon", [1, 1, 3, 1, 3, 3, 1, 3]),
            shape("mask", [0, 1, 4, 2, 4, 2]),  # one pixel
        ]
    }
    mask = mask_of_shapes(answer, image_size=(8, 6))
    assert mask == {"rle": [0, 2, 2, 2, 1, 1, 1, 1, 4, 2]}
    checked = check_interactor_answer(mask, image_size=(8, 6))
    assert checked["mask"].tolist() == [[255, 255, 0, 0], [255, 255, 0, 255]]
    assert checked["bounds"] == [1, 1, 4, 2]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([-8000, -8000, 8000, -8000, 8000, 8000, -8000, 8000], [0, 640 * 480, 0, 0, 639, 479]),
        ([600, 400, 16000, 400, 16000, 16000, 600, 16000], [0, 40 * 80, 600, 400, 639, 479]),
        ([-30000, 2, 2, 2, 2, 3, -30000, 3], [0, 2, 0, 2, 1, 2]),
    ],
)
def test_polygon_beyond_the_image_is_cut_before_its_pixels_are_set(
    points: list[int], expected: list[int]
) -> None:
    """A polygon of 16000 x 16000 pixels took 12 s and 760 MB, whatever the size of the image."""
    tracemalloc.start()
    found = mask_of_shapes({"shapes": [shape("polygon", points)]}, image_size=(640, 480))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == {"rle": expected}
    assert peak < 1 << 23


@given(st.integers(0, 2**32 - 1), st.integers(3, 9))
def test_polygon_over_the_border_has_the_pixels_of_the_whole_one(seed: int, corners: int) -> None:
    """Its sides are horizontal and vertical: COCO's rule moves others by up to 1/5 of a pixel."""
    xs, ys = np.random.default_rng(seed).integers(-20, 50, (2, corners)).astype(float)
    polygon = np.stack([np.repeat(xs, 2), np.roll(np.repeat(ys, 2), 1)], axis=1).ravel().tolist()
    whole = contours.mask_of(tuple(polygon))
    inside = None if whole is None else rle.decode_inside(whole, 30, 25)
    cut = None if inside is None else rle.trim(*inside)
    found = mask_of_shapes({"shapes": [shape("polygon", polygon)]}, image_size=(30, 25))
    if cut is None:
        assert found["mask"] == [[0]]
    else:
        assert found == {"rle": list(rle.encode(*cut))}


@pytest.mark.parametrize(
    "points",
    [
        shape("mask", [0, 480_000, 0, 0, 799, 599]),
        shape("polygon", [0, 0, 800, 0, 800, 600, 0, 600]),
        shape("polygon", [-9, -9, 900, -9, 900, 700]),
        # Neither has a pixel, but only its fill shows that.
        shape("mask", [480_000, 0, 0, 799, 599]),
        shape("polygon", [0, 0, 800, 600, 400, 300]),
        shape("polygon", [0, 0, 240_000, 0, 240_000, 1, 0, 1]),
    ],
    ids=["mask", "polygon", "polygon over the border", "empty mask", "line", "long outline"],
)
def test_shapes_that_cover_the_image_many_times_are_refused(points: dict[str, Any]) -> None:
    """Each shape takes up to 0.1 s on an image of 12 megapixels, and an answer may have many."""
    small = shape("polygon", [-9, -9, 1, -9, 1, 1, -9, 1])
    mask_of_shapes({"shapes": [points] * 15 + [small] * 1000}, image_size=(800, 600))
    with pytest.raises(AnswerError, match="more than 16 times the pixels of the image"):
        mask_of_shapes({"shapes": [points] * 1_000_000}, image_size=(800, 600))


def test_small_image_may_have_many_shapes() -> None:
    shapes = [shape("polygon", [1, 1, 3, 1, 3, 3, 1, 3])] * 1000
    found = mask_of_shapes({"shapes": shapes}, image_size=(8, 6))
    assert found == {"rle": [0, 4, 1, 1, 2, 2]}


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
        ({"shapes": [shape("polygon", [0, 0, 800, 600] * 1600)]}, "too long for a mask"),
    ],
)
def test_answer_that_is_no_mask_raises_an_error(answer: object, sentence: str) -> None:
    with pytest.raises(AnswerError, match=sentence):
        mask_of_shapes(answer, image_size=(800, 600))
