"""Person re-identification: crops, BGR order, labels, distance and assignment, on a generated
network.

The generated network embeds a crop as its mean colour, in the order blue, green, red.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tests.functions.catalogue.harness import Function, encoded

pytest.importorskip("openvino", reason="re-identification needs OpenVINO")
from tests.functions.catalogue.stand_ins import reidentification

pytestmark = pytest.mark.models

FOLDER = "openvino/omz/person_reidentification_retail_0277"
RED, GREEN, BLUE, ORANGE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 128, 0)


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Function:
    path = reidentification.make(tmp_path_factory.mktemp("reid") / "reid.xml")
    loaded = Function(FOLDER)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MODEL_PATH", str(path))
        loaded.start()
    return loaded


Person = tuple[tuple[int, int, int, int], tuple[int, int, int]]


def _frame(*people: Person, label_id: int = 1) -> tuple[str, list[dict[str, Any]]]:
    picture = np.full((200, 300, 3), 40, np.uint8)
    boxes = []
    for (left, top, right, bottom), colour in people:
        picture[top:bottom, left:right] = colour
        boxes.append({"points": [left, top, right, bottom], "label_id": label_id})
    return encoded(picture), boxes


def _body(first: Any, second: Any, **more: Any) -> dict[str, Any]:
    return {
        "image0": first[0], "boxes0": first[1], "image1": second[0], "boxes1": second[1], **more
    }  # fmt: skip


def test_the_log_says_what_it_runs_on(function: Function) -> None:
    [line] = function.logged
    assert re.fullmatch("The model runs on CPU", line)


def test_persons_are_matched_by_appearance_not_by_order(function: Function) -> None:
    first = _frame(((10, 10, 30, 60), RED), ((40, 10, 60, 60), GREEN), ((70, 10, 90, 60), BLUE))
    second = _frame(((12, 10, 32, 60), BLUE), ((42, 10, 62, 60), RED), ((72, 10, 92, 60), GREEN))
    assert function.invoke(_body(first, second, max_distance=100)) == (200, [1, 2, 0])


@pytest.mark.parametrize(("max_distance", "expected"), [(29, [-1]), (30, [0]), (31, [0])])
def test_the_distance_of_centres_is_a_limit(
    function: Function, max_distance: int, expected: list[int]
) -> None:
    first, second = _frame(((10, 10, 30, 60), RED)), _frame(((40, 10, 60, 60), RED))
    assert function.invoke(_body(first, second, max_distance=max_distance))[1] == expected


def test_boxes_of_other_labels_are_never_matched(function: Function) -> None:
    first = _frame(((10, 10, 30, 60), RED))
    second = _frame(((10, 10, 30, 60), RED), label_id=2)
    assert function.invoke(_body(first, second)) == (200, [-1])


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0, [-1]),  # red and orange are not the same
        (0.1, [-1]),
        (0.12, [0]),  # their cosine distance is 1 - 255 / hypot(255, 128) = 0.106
        (1, [0]),
        (None, [0]),
    ],
)
def test_the_threshold_works_over_its_whole_range(
    function: Function, threshold: float | None, expected: list[int]
) -> None:
    first, second = _frame(((10, 10, 30, 60), RED)), _frame(((10, 10, 30, 60), ORANGE))
    assert function.invoke(_body(first, second, threshold=threshold))[1] == expected


def test_the_embedding_is_in_bgr_order(function: Function) -> None:
    picture = np.zeros((100, 50, 3), np.uint8)
    picture[:] = (10, 20, 30)
    box = {"points": [0, 0, 50, 100]}
    [embedding] = function.context.user_data.model.embed(picture, [box])
    np.testing.assert_allclose(embedding, [30, 20, 10], atol=1e-4)


@pytest.mark.parametrize(
    ("points", "size"),
    [
        ([10, 10, 20, 30], (20, 10)),
        ([10.6, 10.6, 19.4, 29.4], (20, 10)),  # whole pixels that it touches
        ([-50, -50, 10, 10], (10, 10)),
        ([500, 500, 600, 600], (1, 1)),  # outside: the nearest pixel, never nothing
        ([10, 10, 10, 10], (1, 1)),
        ([20, 30, 10, 10], (20, 10)),  # corners in any order
    ],
)
def test_a_crop_is_never_empty(points: list[float], size: tuple[int, int]) -> None:
    cut = Function(FOLDER).model.cut(np.zeros((200, 300, 3), np.uint8), points)
    assert cut.shape[:2] == size


def test_calls_without_boxes_run_no_network(function: Function) -> None:
    person, nobody = _frame(((10, 10, 30, 60), RED)), _frame()
    assert function.invoke(_body(nobody, person)) == (200, [])
    assert function.invoke(_body(person, nobody)) == (200, [-1])


def test_bad_input_names_the_field(function: Function) -> None:
    first, second = _frame(((10, 10, 30, 60), RED)), _frame()
    for field in ("image0", "image1", "boxes0", "boxes1"):
        status, answer = function.invoke({**_body(first, second), field: None})
        assert status == 400
        assert f"'{field}'" in answer["error"]
