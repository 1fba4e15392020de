"""Faces: BGR order, scale, crops and attributes, on generated networks whose answers are known.

The detector finds the red rectangle, in BGR order only. Age, gender and emotion depend on how red
the crop is, so a crop that is off by some pixels or in the wrong colour order changes them.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.functions.catalogue.harness import Function, encoded

pytest.importorskip("openvino", reason="face detection needs OpenVINO")
from tests.functions.catalogue.stand_ins import faces

pytestmark = pytest.mark.models

FOLDER = "openvino/omz/face_detection_0205"


@pytest.fixture(scope="module", params=["fc3_a", "age_conv3"])
def function(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Function:
    folder: Path = tmp_path_factory.mktemp("face")
    loaded = Function(FOLDER)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DETECTOR_MODEL_PATH", str(faces.make_detector(folder)))
        environment.setenv(
            "AGE_GENDER_MODEL_PATH", str(faces.make_age_gender(folder, request.param))
        )
        environment.setenv("EMOTIONS_MODEL_PATH", str(faces.make_emotion(folder)))
        loaded.start()
    return loaded


def _picture(width: int, height: int, box: tuple[int, int, int, int]) -> np.ndarray:
    picture = np.zeros((height, width, 3), np.uint8)
    left, top, right, bottom = box
    picture[top:bottom, left:right] = (255, 0, 0)
    return picture


def test_the_log_says_what_it_runs_on(function: Function) -> None:
    [line] = function.logged
    assert re.fullmatch("The model runs on CPU", line)


@pytest.mark.parametrize(
    ("width", "height", "box"),
    [
        (416, 416, (10, 20, 110, 220)),
        (832, 416, (20, 20, 220, 220)),  # half as wide inside the network
        (208, 104, (10, 20, 60, 80)),  # enlarged
        (640, 480, (0, 0, 640, 480)),  # the whole picture
    ],
)
def test_the_face_comes_back_where_it_was_with_its_attributes(
    function: Function, width: int, height: int, box: tuple[int, int, int, int]
) -> None:
    status, [item] = function.invoke({"image": encoded(_picture(width, height, box))})
    assert status == 200
    assert (item["label"], item["type"], item["confidence"]) == ("face", "rectangle", 0.875)
    np.testing.assert_allclose(item["points"], box, atol=max(width, height) / 416 * 0.51)
    assert item["attributes"] == [
        {"name": "age", "value": "34"},
        {"name": "gender", "value": "male"},
        {"name": "emotion", "value": "surprise"},
    ]


def test_a_face_that_is_not_red_has_other_attributes(function: Function) -> None:
    picture = _picture(416, 416, (10, 20, 110, 200))
    picture[104:208, 208:416] = (0, 0, 200)  # where FAINT is
    _, items = function.invoke({"image": encoded(picture), "threshold": 0.25})
    assert items[1]["points"] == [208, 104, 416, 208]
    values = {attribute["name"]: attribute["value"] for attribute in items[1]["attributes"]}
    assert values == {"age": "0", "gender": "female", "emotion": "anger"}


@pytest.mark.parametrize(("threshold", "count"), [(0, 3), (0.22, 3), (0.25, 2), (0.9, 0), (1, 0)])
def test_the_threshold_works_over_its_whole_range_and_slivers_are_dropped(
    function: Function, threshold: float, count: int
) -> None:
    image = encoded(_picture(416, 416, (10, 20, 110, 220)))
    _, items = function.invoke({"image": image, "threshold": threshold})
    assert len(items) == count


def test_a_face_at_the_border_is_cut_at_the_picture(function: Function) -> None:
    image = encoded(_picture(416, 416, (10, 20, 110, 220)))
    _, items = function.invoke({"image": image, "threshold": 0.2})
    assert [400, 400, 416, 416] in [item["points"] for item in items]


def test_every_answer_is_in_the_specification() -> None:
    function = Function(FOLDER)
    [label] = function.labels()
    attributes = {attribute["name"]: attribute["values"] for attribute in label["attributes"]}
    assert label["name"] == function.model.LABEL
    assert attributes["gender"] == list(function.model.GENDERS)
    assert attributes["emotion"] == list(function.model.EMOTIONS)
    assert attributes["age"] == ["0", str(function.model.OLDEST), "1"]


@pytest.mark.parametrize(("value", "age"), [(0.34, 34), (-0.1, 0), (1.8, 150), (0.256, 26)])
def test_the_age_is_whole_years_within_the_attributes_range(value: float, age: int) -> None:
    assert Function(FOLDER).model.read_age({"fc3_a": np.full((1, 1, 1, 1), value)}) == age
