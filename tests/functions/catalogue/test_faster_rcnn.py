"""Faster R-CNN: scale, classes and the graph's built-in threshold, on a generated graph whose
answer is known.

The generated graph has the official one's tensors. It "detects" the red rectangle of each picture,
so the right answer is known to the pixel, and one fixed faint object that its own score filter
(0.3, as in the official graph) drops.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.functions.catalogue.harness import Function, encoded

pytest.importorskip("tensorflow", reason="Faster R-CNN needs TensorFlow")
from tests.functions.catalogue.stand_ins import faster_rcnn

pytestmark = pytest.mark.models

FOLDER = "tensorflow/google/faster_rcnn_inception_v2_coco"


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Function:
    graph_file = faster_rcnn.make(tmp_path_factory.mktemp("faster_rcnn") / "frozen.pb")
    loaded = Function(FOLDER)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MODEL_PATH", str(graph_file))
        loaded.start()
    return loaded


def _picture(width: int, height: int, box: tuple[int, int, int, int]) -> np.ndarray:
    picture = np.full((height, width, 3), 90, np.uint8)
    left, top, right, bottom = box
    picture[top:bottom, left:right] = (255, 0, 0)
    return picture


def test_the_log_says_what_it_runs_on(function: Function) -> None:
    [line] = function.logged
    assert re.fullmatch(r"The model runs on (CPU|GPU:.+)", line)


@pytest.mark.parametrize(
    ("width", "height", "box", "tolerance"),
    [
        (640, 480, (10, 20, 110, 220), 0.01),
        (33, 57, (0, 0, 33, 1), 0.01),
        (1920, 1080, (100, 1000, 1919, 1080), 0.01),  # the largest that is passed as it is
        (3840, 2160, (200, 100, 3000, 1700), 1.0),  # halved
        (1000, 4000, (200, 100, 900, 3000), 1.1),  # upright, halved
    ],
)
def test_the_rectangle_comes_back_where_it_was(
    function: Function, width: int, height: int, box: tuple[int, int, int, int], tolerance: float
) -> None:
    status, [item] = function.invoke({"image": encoded(_picture(width, height, box))})
    assert status == 200
    assert (item["label"], item["type"], item["confidence"]) == ("toothbrush", "rectangle", 0.875)
    np.testing.assert_allclose(item["points"], box, atol=tolerance)


def test_a_threshold_below_the_graphs_own_has_an_effect(function: Function) -> None:
    image = encoded(_picture(640, 480, (10, 20, 110, 220)))
    _, items = function.invoke({"image": image, "threshold": 0.1})
    assert [item["label"] for item in items] == ["toothbrush", "person"]
    assert items[1]["points"] == [320, 120, 640, 360]


@pytest.mark.parametrize(("threshold", "count"), [(0, 2), (0.3, 1), (0.875, 1), (0.88, 0), (1, 0)])
def test_the_threshold_works_over_its_whole_range(
    function: Function, threshold: float, count: int
) -> None:
    image = encoded(_picture(64, 48, (10, 20, 30, 40)))
    _, items = function.invoke({"image": image, "threshold": threshold})
    assert len(items) == count


def test_a_batch_of_two_sizes_keeps_its_order_and_names_the_bad_frame(function: Function) -> None:
    first, second = (10, 20, 110, 220), (3, 4, 5, 6)
    frames = [_picture(640, 480, first), _picture(64, 48, second), _picture(640, 480, second)]
    images = [encoded(frame) for frame in frames]
    status, answer = function.invoke({"images": [images[0], "", images[1], images[2]]})
    assert status == 200
    results = answer["results"]
    assert "images[1]" in results[1]["error"]
    places = zip((0, 2, 3), (first, second, second), strict=True)
    for place, box in places:
        np.testing.assert_allclose(results[place][0]["points"], box, atol=0.01)


def test_labels_are_those_of_the_specification_with_their_numbers() -> None:
    function = Function(FOLDER)
    labels = {label["id"]: label["name"] for label in function.labels()}
    assert labels == function.model.LABEL_OF_ID
    assert labels[10] == "traffic_light"
    assert labels[90] == "toothbrush"


def test_a_grey_picture_is_answered(function: Function) -> None:
    status, items = function.invoke({"image": encoded(np.full((20, 30), 200, np.uint8))})
    assert status == 200
    assert isinstance(items, list)


def test_bad_input_is_a_sentence(function: Function) -> None:
    status, answer = function.invoke({"image": "bm90IGFuIGltYWdl"})
    assert status == 400
    assert answer["error"].startswith("'image' cannot be decoded")
