"""MobileSAM: clicks and boxes on the cup of coffee, and embeddings in answers and calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.functions.packaged.photographs import (
    cropped,
    encode,
    encoded,
    hand_mask,
    mask_iou,
)

FUNCTIONS = ("openvino-mobile-sam",)
SIZE = (400, 600)

pytestmark = pytest.mark.models
Function = Callable[[str], Any]


def interact(function: Function, **body: object) -> dict[str, Any]:
    status, answer = function(FUNCTIONS[0]).invoke({"neg_points": [], **body})
    assert status == 200, answer
    return dict(answer)


@pytest.fixture(scope="session")
def embedding(function: Function) -> dict[str, Any]:
    answer = interact(function, image=encoded("coffee"), want="embedding")
    assert list(answer) == ["embedding"]
    return dict(answer["embedding"])


@pytest.mark.parametrize("click", [[220, 200], [120, 230]])
def test_click_selects_the_cup_with_its_saucer(
    function: Function, embedding: dict[str, Any], click: list[float]
) -> None:
    answer = interact(function, embedding=embedding, pos_points=[click])
    assert mask_iou(cropped(answer, SIZE), hand_mask("coffee_cup_and_saucer")) > 0.95


@pytest.mark.parametrize("wider", [0, 3])  # pixels: a box drawn by hand is not exact
def test_box_alone_selects_the_cup_without_its_saucer(
    function: Function, embedding: dict[str, Any], wider: int
) -> None:
    box = [[170 - wider, 15 - wider], [410 + wider, 308 + wider]]
    answer = interact(function, embedding=embedding, pos_points=[], obj_bbox=box)
    assert mask_iou(cropped(answer, SIZE), hand_mask("coffee_cup")) > 0.9


def test_box_and_points_select_the_cup_without_its_saucer(
    function: Function, embedding: dict[str, Any]
) -> None:
    answer = interact(
        function,
        embedding=embedding,
        pos_points=[[290, 30], [290, 240], [220, 275]],
        neg_points=[[120, 230], [440, 220], [370, 280], [300, 340]],
        obj_bbox=[[170, 15], [410, 308]],
    )
    assert mask_iou(cropped(answer, SIZE), hand_mask("coffee_cup")) > 0.9


def test_negative_points_remove_areas_from_the_mask(
    function: Function, embedding: dict[str, Any]
) -> None:
    points = [[290, 30], [290, 240]]
    whole = cropped(interact(function, embedding=embedding, pos_points=points), SIZE)
    taken = [[120, 230], [440, 220], [370, 280], [300, 340]]
    less = cropped(
        interact(function, embedding=embedding, pos_points=points, neg_points=taken), SIZE
    )
    assert less.sum() < 0.7 * whole.sum()
    assert not any(less[y, x] for x, y in taken)


def test_box_alone_selects_the_object_inside_it(
    function: Function, embedding: dict[str, Any]
) -> None:
    box = [[75, 15], [480, 390]]
    answer = interact(function, embedding=embedding, pos_points=[], obj_bbox=box)
    assert mask_iou(cropped(answer, SIZE), hand_mask("coffee_cup_and_saucer")) > 0.9


def test_box_drawn_from_any_corner_gives_the_same_mask(
    function: Function, embedding: dict[str, Any]
) -> None:
    answers = [
        interact(function, embedding=embedding, pos_points=[], obj_bbox=box)
        for box in ([[75, 15], [480, 390]], [[480, 390], [75, 15]], [[480, 15], [75, 390]])
    ]
    assert answers[0] == answers[1] == answers[2]


def test_the_image_and_its_embedding_give_the_same_mask(
    function: Function, embedding: dict[str, Any]
) -> None:
    by_image = interact(function, image=encoded("coffee"), pos_points=[[220, 200]])
    by_embedding = interact(function, embedding=embedding, pos_points=[[220, 200]])
    assert mask_iou(cropped(by_image, SIZE), cropped(by_embedding, SIZE)) > 0.999


def test_key_of_an_embedding_gives_the_same_mask_as_the_embedding(
    function: Function, embedding: dict[str, Any]
) -> None:
    sent = {"embedding": embedding, "embedding_key": "coffee", "pos_points": [[220, 200]]}
    by_embedding, *_ = [interact(function, **sent) for _ in range(4)]  # to each worker process
    by_key = interact(function, embedding_key="coffee", pos_points=[[220, 200]])
    assert by_key == by_embedding


def test_key_that_no_process_knows_is_answered_with_410(function: Function) -> None:
    body = {"embedding_key": "nobody's", "pos_points": [[220, 200]], "neg_points": []}
    status, answer = function(FUNCTIONS[0]).invoke(body)
    assert (status, answer["code"]) == (410, "embedding_unknown")


def test_first_click_returns_mask_and_embedding_if_requested(function: Function) -> None:
    answer = interact(function, image=encoded("coffee"), pos_points=[[220, 200]], want="embedding")
    assert set(answer) == {"embedding", "mask", "bounds", "points"}


def test_blob_is_the_data_of_the_embedding(function: Function, embedding: dict[str, Any]) -> None:
    for sent in ({"image": encoded("coffee")}, {"embedding": embedding}):
        answer = interact(function, **sent, pos_points=[[220, 200]], want="blob")
        assert answer == {"blob": embedding["data"]}


def test_embedding_has_its_shape_and_version(embedding: dict[str, Any]) -> None:
    data = embedding.pop("data")
    assert embedding == {
        "shape": [1, 256, 64, 64],
        "dtype": "float32",
        "image_size": [400, 600],
        "version": "mobile-sam-18348d144bd3",  # the first digits of the encoder's SHA-256
    }
    embedding["data"] = data
    assert len(data) == (4 * 256 * 64 * 64 + 2) // 3 * 4


def test_the_answer_is_a_crop_with_its_polygon(
    function: Function, embedding: dict[str, Any]
) -> None:
    answer = interact(function, embedding=embedding, pos_points=[[220, 200]])
    left, top, right, bottom = answer["bounds"]
    rows = answer["mask"]
    assert len(rows) == bottom - top + 1
    assert {len(row) for row in rows} == {right - left + 1}
    assert {value for row in rows for value in row} == {0, 255}
    assert all(left <= x <= right and top <= y <= bottom for x, y in answer["points"])
    assert 20 < len(answer["points"]) < 300


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (2000, 1500)])
def test_pictures_of_extreme_sizes_are_answered(function: Function, size: tuple[int, int]) -> None:
    height, width = size
    image = np.full((height, width, 3), 120, dtype=np.uint8)
    click = [[width // 2, height // 2]]
    answer = interact(function, image=encode(image), pos_points=click)
    left, top, right, bottom = answer["bounds"]
    assert 0 <= left <= right < width
    assert 0 <= top <= bottom < height


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": "other"}, "'embedding' is of version 'other'"),
        ({"shape": [1, 256, 64, 63]}, "'embedding' has 4194304 bytes"),
        ({"data": "AAAA"}, "'embedding' has 3 bytes"),
        ({"image_size": [0, 10]}, "'embedding' has no image_size"),
        ({"image_size": None}, "'embedding' has no image_size"),
        ({"image_size": [10_001, 10_000]}, "'embedding' has 10000x10001 pixels, more than"),
        ({"image_size": [1_000_000, 1_000_000]}, "'embedding' has 1000000x1000000 pixels"),
    ],
)
def test_a_damaged_embedding_is_400(
    function: Function, embedding: dict[str, Any], change: dict[str, Any], sentence: str
) -> None:
    body = {"embedding": {**embedding, **change}, "pos_points": [[5, 5]], "neg_points": []}
    status, answer = function(FUNCTIONS[0]).invoke(body)
    assert status == 400
    assert answer["error"].startswith(sentence)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "there is no positive point"),
        ({"neg_points": [[5, 5]]}, "there is no positive point"),
        ({"pos_points": "here"}, "'pos_points' is not a list of points"),
        ({"pos_points": [[1, 2, 3]]}, "'pos_points' holds [1, 2, 3]"),
        ({"pos_points": [], "obj_bbox": [[1, 2]]}, "'obj_bbox' has 1 corners"),
        ({"pos_points": [[1, 2]], "want": "masks"}, "'want' is 'masks'; send one of mask, blob, e"),
    ],
)
def test_a_prompt_without_a_positive_click_and_box_is_400(
    function: Function, body: dict[str, Any], sentence: str
) -> None:
    status, answer = function(FUNCTIONS[0]).invoke({"image": encoded("coffee"), **body})
    assert status == 400
    assert answer["error"].startswith(sentence)
