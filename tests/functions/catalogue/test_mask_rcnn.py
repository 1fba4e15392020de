"""Mask R-CNN: BGR order, scale, class and mask pasting to the pixel, on a generated network whose
answer is known.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.functions.catalogue.harness import Function, encoded

pytest.importorskip("openvino", reason="Mask R-CNN needs OpenVINO")
from tests.functions.catalogue.stand_ins import mask_rcnn

pytestmark = pytest.mark.models

FOLDER = "openvino/omz/mask_rcnn_inception_resnet_v2_atrous_coco"


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Function:
    path = mask_rcnn.make(tmp_path_factory.mktemp("mask_rcnn") / "mask_rcnn.xml")
    loaded = Function(FOLDER)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MODEL_PATH", str(path))
        loaded.start()
    return loaded


def _picture(width: int, height: int, box: tuple[int, int, int, int]) -> np.ndarray:
    picture = np.zeros((height, width, 3), np.uint8)
    left, top, right, bottom = box
    picture[top:bottom, left:right] = (255, 0, 0)
    return picture


def _unpack(item: dict[str, Any]) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    left, top, right, bottom = item["mask"][-4:]
    bitmap = np.array(item["mask"][:-4]).reshape(bottom - top + 1, right - left + 1)
    return bitmap, (left, top, right, bottom)


def test_the_log_says_what_it_runs_on(function: Function) -> None:
    [line] = function.logged
    assert re.fullmatch("The model runs on CPU", line)


@pytest.mark.parametrize(
    ("width", "height", "box", "expected"),
    [
        # the left half of the box, inclusive ends
        (1365, 800, (100, 50, 300, 150), (100, 50, 199, 149)),
        (2730, 1600, (200, 100, 600, 300), (200, 100, 399, 299)),
        (1365, 400, (0, 0, 1365, 400), (0, 0, 681, 399)),
    ],
)
def test_the_mask_is_pasted_to_the_pixel(
    function: Function,
    width: int,
    height: int,
    box: tuple[int, int, int, int],
    expected: tuple[int, int, int, int],
) -> None:
    status, [item] = function.invoke({"image": encoded(_picture(width, height, box))})
    assert status == 200
    assert (item["label"], item["type"], item["confidence"]) == ("cup", "mask", 0.875)
    bitmap, bounds = _unpack(item)
    assert bounds == expected
    assert bitmap.all()


def test_a_network_with_colours_last_gets_colours_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The zoo's own conversion keeps TensorFlow's order of axes.
    path = mask_rcnn.make(tmp_path / "colours_last.xml", colours_last=True)
    monkeypatch.setenv("MODEL_PATH", str(path))
    function = Function(FOLDER)
    function.start()
    picture = _picture(1365, 800, (100, 50, 300, 150))
    status, [item] = function.invoke({"image": encoded(picture)})
    assert (status, _unpack(item)[1]) == (200, (100, 50, 199, 149))


def test_a_detection_with_an_empty_mask_is_left_out(function: Function) -> None:
    image = encoded(_picture(1365, 800, (100, 50, 300, 150)))
    _, items = function.invoke({"image": image, "threshold": 0})
    assert [item["label"] for item in items] == ["cup"]


def test_a_mask_has_two_values_and_a_polygon(function: Function) -> None:
    picture = _picture(1365, 800, (101, 51, 300, 151))
    _, [item] = function.invoke({"image": encoded(picture)})
    assert set(item["mask"][:-4]) <= {0, 1}
    assert len(item["points"]) >= 6
    assert min(item["points"][0::2]) == 101


@pytest.mark.parametrize(("threshold", "count"), [(0, 1), (0.875, 1), (0.88, 0), (1, 0)])
def test_the_threshold_works_over_its_whole_range(
    function: Function, threshold: float, count: int
) -> None:
    image = encoded(_picture(1365, 800, (100, 50, 300, 150)))
    _, items = function.invoke({"image": image, "threshold": threshold})
    assert len(items) == count


def test_labels_are_those_of_the_specification_with_their_numbers() -> None:
    function = Function(FOLDER)
    labels = {label["id"]: label["name"] for label in function.labels()}
    assert labels == function.model.LABEL_OF_ID
    assert {label["type"] for label in function.labels()} == {"mask"}
