"""The contract of every packaged function: labels, thresholds and invalid input."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.functions.packaged.photographs import NAMES, encoded

DETECTORS = (
    "openvino-ssdlite-person",
    "openvino-nanodet-coco",
    "openvino-nanodet-sam-masks",
    "openvino-movenet-pose",
    "openvino-centerface-attributes",
)
BATCHING = ("openvino-ssdlite-person", "openvino-nanodet-coco")
INTERACTOR = "openvino-mobile-sam"
TRACKER = "openvino-siamese-mobilenetv2"
REID = "openvino-reid-mobilenetv2"
FUNCTIONS = (*DETECTORS, INTERACTOR, TRACKER, REID)

pytestmark = pytest.mark.models
Function = Callable[[str], Any]


@pytest.mark.parametrize("name", DETECTORS)
def test_labels_and_attributes_of_answers_are_in_the_spec(function: Function, name: str) -> None:
    served = function(name)
    listed = {label["name"]: label for label in served.labels}
    for photograph in NAMES:
        status, items = served.invoke({"image": encoded(photograph), "threshold": 0.3})
        assert status == 200
        for item in items:
            label = listed[item["label"]]
            assert item["type"] == label["type"]
            assert 0.3 <= item["confidence"] <= 1.0
            points = [sublabel["name"] for sublabel in label.get("sublabels", [])]
            assert [element["label"] for element in item.get("elements", [])] == points
            chosen = {each["name"]: each["value"] for each in item.get("attributes", [])}
            offered = {each["name"]: each for each in label.get("attributes", [])}
            assert list(chosen) == list(offered)
            for attribute, value in chosen.items():
                if offered[attribute]["input_type"] == "select":
                    assert value in offered[attribute]["values"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_log_says_what_it_runs_on(function: Function, name: str) -> None:
    assert re.search(r"runs? on CPU\b", function(name).runtime.log(name))


@pytest.mark.parametrize("name", DETECTORS)
def test_threshold_from_0_to_1_filters_by_confidence(function: Function, name: str) -> None:
    served = function(name)
    counts = []
    for threshold in (0, 0.3, 0.6, 1):
        payload = {"image": encoded("camera"), "threshold": threshold}
        status, items = served.invoke(payload)
        assert status == 200
        assert all(item["confidence"] >= threshold for item in items)
        counts.append(len(items))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1] == 0
    default = served.invoke({"image": encoded("camera")})
    assert default == served.invoke({"image": encoded("camera"), "threshold": None})


@pytest.mark.parametrize("name", [*DETECTORS, INTERACTOR])
@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (None, "'image' is missing; send an image file in base64"),
        (
            "AAAA",
            "'image' cannot be decoded; send a whole PNG, JPEG, WebP, BMP or TIFF file in base64",
        ),
    ],
)
def test_unreadable_image_is_400_with_a_message(
    function: Function, name: str, image: str | None, sentence: str
) -> None:
    payload = {"image": image, "pos_points": [[1, 1]]}
    assert function(name).invoke(payload) == (400, {"error": sentence})


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("threshold", [-0.1, 1.1, "0.5"])
def test_invalid_threshold_is_400(function: Function, name: str, threshold: object) -> None:
    status, answer = function(name).invoke({"image": encoded("camera"), "threshold": threshold})
    assert status == 400
    assert answer["error"].startswith("'threshold' is ")


@pytest.mark.parametrize("name", BATCHING)
def test_batch_is_answered_like_single_calls(function: Function, name: str) -> None:
    served = function(name)
    single = [served.invoke({"image": encoded(one)})[1] for one in NAMES]
    status, answer = served.invoke({"images": [encoded(one) for one in NAMES]})
    assert (status, answer) == (200, {"results": single})


@pytest.mark.parametrize("name", BATCHING)
def test_an_unreadable_frame_of_a_batch_does_not_affect_the_others(
    function: Function, name: str
) -> None:
    status, answer = function(name).invoke({"images": ["AAAA", encoded("camera")]})
    assert status == 200
    assert answer["results"][0]["error"].startswith("'images[0]' cannot be decoded")
    assert [item["label"] for item in answer["results"][1]] == ["person"]


@pytest.mark.parametrize("name", BATCHING)
def test_batch_over_the_declared_size_is_400(function: Function, name: str) -> None:
    status, answer = function(name).invoke({"images": ["AAAA"] * 9})
    assert (status, answer) == (400, {"error": "'images' has 9 entries; at most 8 fit a call"})
