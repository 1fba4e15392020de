"""YOLOv7: letterbox, scale, classes and the graph's built-in threshold, on a generated network
whose answer is known.

The generated file has the official one's inputs and outputs. It "detects" the red rectangle of the
picture, so the right answer is known to the pixel, and sends it with two fixed candidates through
a NonMaxSuppression whose score threshold is 0.35, as in the official file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.functions.catalogue.harness import Function, encoded

pytest.importorskip("onnx", reason="the generated network needs onnx")
pytest.importorskip("onnxruntime", reason="YOLOv7 needs ONNX Runtime")
from tests.functions.catalogue.stand_ins import yolov7

pytestmark = pytest.mark.models

FOLDER = "onnx/wongkinyiu/yolov7"


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Function:
    network_file = yolov7.make(tmp_path_factory.mktemp("yolov7") / "yolov7.onnx")
    loaded = Function(FOLDER)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MODEL_PATH", str(network_file))
        loaded.start()
    return loaded


def _picture(width: int, height: int, box: tuple[int, int, int, int]) -> np.ndarray:
    picture = np.full((height, width, 3), 90, np.uint8)
    left, top, right, bottom = box
    picture[top:bottom, left:right] = (255, 0, 0)
    return picture


def test_the_log_says_what_it_runs_on(function: Function) -> None:
    [line] = function.logged
    assert re.fullmatch(r"The model runs on (CPU|CUDA)ExecutionProvider", line)


@pytest.mark.parametrize(
    ("width", "height", "box"),
    [
        (640, 640, (10, 20, 110, 220)),  # as it is
        (320, 240, (31, 17, 119, 203)),  # twice as large, 80 rows of padding above and below
        (240, 320, (0, 0, 240, 1)),  # padding left and right, touching the border
        (1280, 720, (200, 100, 1200, 700)),  # half as large, 140 rows of padding
        (1281, 641, (100, 100, 1000, 600)),  # sides that do not divide
    ],
)
def test_the_rectangle_comes_back_where_it_was(
    function: Function, width: int, height: int, box: tuple[int, int, int, int]
) -> None:
    status, [item] = function.invoke({"image": encoded(_picture(width, height, box))})
    assert status == 200
    assert (item["label"], item["type"], item["confidence"]) == ("laptop", "rectangle", 0.875)
    pixel = max(1.0, max(width, height) / yolov7.SIDE)  # of the network, in the picture
    np.testing.assert_allclose(item["points"], box, atol=0.51 * pixel)


def test_a_threshold_below_the_files_own_has_an_effect(function: Function) -> None:
    image = encoded(_picture(640, 640, (10, 20, 110, 220)))
    _, items = function.invoke({"image": image, "threshold": 0.15})
    assert [item["label"] for item in items] == ["laptop", "sofa"]
    assert items[1]["points"] == list(yolov7.FAINT[:4])
    assert items[1]["confidence"] == pytest.approx(0.2, abs=1e-4)


@pytest.mark.parametrize(
    ("threshold", "count"), [(0, 2), (0.2, 2), (0.21, 1), (0.875, 1), (0.9, 0), (1, 0)]
)
def test_the_threshold_works_over_its_whole_range(
    function: Function, threshold: float, count: int
) -> None:
    image = encoded(_picture(640, 640, (10, 20, 110, 220)))
    _, items = function.invoke({"image": image, "threshold": threshold})
    assert len(items) == count


def test_boxes_in_the_padding_are_cut_at_the_picture_or_dropped(function: Function) -> None:
    # In a 240 x 640 picture the columns from 440 on are padding. The faint candidate is there.
    image = encoded(_picture(240, 640, (0, 0, 240, 640)))
    _, items = function.invoke({"image": image, "threshold": 0})
    assert [item["label"] for item in items] == ["laptop"]
    assert items[0]["points"] == [0, 0, 240, 640]


def test_a_batch_keeps_its_order_and_names_the_bad_frame(function: Function) -> None:
    boxes = [(10, 20, 110, 220), (300, 300, 400, 420)]
    frames = [encoded(_picture(640, 640, box)) for box in boxes]
    status, answer = function.invoke({"images": [frames[0], "????", frames[1]]})
    assert status == 200
    first, bad, second = answer["results"]
    assert first[0]["points"] == list(boxes[0])
    assert second[0]["points"] == list(boxes[1])
    assert "images[1]" in bad["error"]


def test_a_file_with_a_dynamic_batch_runs_all_frames_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_PATH", str(yolov7.make_batching(tmp_path / "batching.onnx")))
    function = Function(FOLDER)
    function.start()
    session = function.context.user_data.model.session
    runs: list[tuple[int, ...]] = []

    class Counting:
        """A session that records the shape of each input."""

        def run(self, outputs: Any, inputs: dict[str, np.ndarray]) -> Any:
            runs.extend(each.shape for each in inputs.values())
            return session.run(outputs, inputs)

    monkeypatch.setattr(function.context.user_data.model, "session", Counting())
    # The network's box is as wide as the picture is bright.
    shades = [51, 255, 102]
    frames = [encoded(np.full((640, 640, 3), shade, np.uint8)) for shade in shades]
    _, answer = function.invoke({"images": [*frames[:2], "????", frames[2]]})
    found = [answer["results"][place] for place in (0, 1, 3)]
    assert [[item["points"] for item in items] for items in found] == [
        [[0, 0, pytest.approx(640 * shade / 255, rel=0.01), 320]] for shade in shades
    ]
    assert runs == [(3, 3, 640, 640)]


def test_labels_are_those_of_the_specification() -> None:
    function = Function(FOLDER)
    assert [label["name"] for label in function.labels()] == list(function.model.LABELS)
    assert [label["id"] for label in function.labels()] == list(range(80))


@pytest.mark.parametrize("body", [{}, {"image": ""}, {"image": "bm90IGFuIGltYWdl"}, {"image": 5}])
def test_bad_input_is_a_sentence(function: Function, body: dict[str, Any]) -> None:
    status, answer = function.invoke(body)
    assert status == 400
    assert answer["error"].startswith("'image' ")
