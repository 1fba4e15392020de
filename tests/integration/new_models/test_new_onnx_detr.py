"""``new onnx-detr``: outputs of detection transformers, from ONNX files of known answers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from PIL import Image
from pytest_django import Settings

from cvat_lambda.runtime.cli import main
from tests.integration.new_models.conftest import (
    MakeGraphs,
    app_of,
    found_by_request,
    picture,
    run_cli,
)
from tests.integration.runtime.harness import Runtime

SIDE = 64  # of the networks' input, pixels
DOG, CAT = [0.5, 0.5, 0.25, 0.5], [0.25, 0.25, 0.125, 0.125]  # centre and size
CORNERS = [[0.375, 0.25, 0.625, 0.75], [0.1875, 0.1875, 0.3125, 0.3125]]
# Scores of 0.8 and 0.6 as logits: of a sigmoid, and of a softmax with a third class of nothing.
HIGH, LOW = math.log(0.8 / 0.2), math.log(0.6 / 0.4)
NOTHING = math.log(0.1)
ULTRALYTICS = {"names": "{0: 'cat', 1: 'dog'}"}
QUERIES = {"pred_boxes": [[DOG, CAT]], "logits": [[[-9, HIGH], [LOW, -9]]]}

# Name -> metadata, outputs, options of ``new``.
GRAPHS: dict[str, tuple[dict[str, str], dict[str, Any], list[str]]] = {
    "detr-sigmoid": ({}, QUERIES, ["--labels", "cat,dog"]),
    "detr-softmax": (
        {},
        {
            "logits": [
                [[math.log(0.1), math.log(0.8), NOTHING], [math.log(0.6), -9, math.log(0.4)]]
            ],
            "pred_boxes": [[DOG, CAT]],
        },
        ["--labels", "cat,dog", "--scores", "softmax", "--normalise", "imagenet"],
    ),
    "detr-ultralytics": (
        ULTRALYTICS,
        {"output0": [[[*DOG, 0, 0.8], [*CAT, 0.6, 0]]]},
        [],
    ),
    "detr-sizes": (
        {},
        {"labels": [[1, 0]], "boxes": [CORNERS], "scores": [[0.8, 0.6]]},
        ["--labels", "cat,dog"],
    ),
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, make_graphs: MakeGraphs) -> Path:
    """A folder with the ONNX file of each entry of GRAPHS."""
    folder = tmp_path_factory.mktemp("weights")
    descriptions: list[dict[str, Any]] = [
        {
            "path": str(folder / f"{name}.onnx"),
            "input": [1, 3, SIDE, SIDE],
            "metadata": metadata,
            "outputs": tables,
        }
        for name, (metadata, tables, _) in GRAPHS.items()
    ]
    descriptions[-1]["sizes"] = "orig_target_sizes"
    make_graphs(descriptions)
    return folder


@pytest.fixture(scope="module")
def detrs(weights: Path, served: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """A runtime with a function for each file."""
    folder = tmp_path_factory.mktemp("functions")
    for name, (_, _, options) in GRAPHS.items():
        words = ("new", "onnx-detr", name, "--weights", weights / f"{name}.onnx")
        run_cli(*words, "--into", folder, *options)
    run_cli("deploy", folder, "--url", served.url)
    return served


@pytest.mark.parametrize("name", [name for name in GRAPHS if name != "detr-softmax"])
def test_boxes_of_each_layout_are_placed_in_an_image_of_any_proportions(
    detrs: Runtime, name: str
) -> None:
    found = detrs.call(name, {"image": picture(160, 80)}).json()
    assert [(item["label"], item["confidence"], item["points"]) for item in found] == [
        ("dog", pytest.approx(0.8, abs=1e-3), [60, 20, 100, 60]),
        ("cat", pytest.approx(0.6, abs=1e-3), [30, 15, 50, 25]),
    ]


def test_softmax_leaves_the_class_of_nothing_out(detrs: Runtime) -> None:
    # White less ImageNet's mean, divided by its deviation, is 2.64 at most: it scales the tables.
    found = detrs.call("detr-softmax", {"image": picture(160, 80), "threshold": 0.0}).json()
    assert {item["label"] for item in found} == {"dog", "cat"}
    scores = [item["confidence"] for item in found]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.9  # 0.8 to the power of 2.64, against 0.1 to it, twice


@pytest.mark.parametrize(("threshold", "count"), [(None, 2), (0.7, 1), (0, 2), (1, 0)])
def test_the_threshold_is_obeyed(detrs: Runtime, threshold: float | None, count: int) -> None:
    body = {"image": picture(SIDE, SIDE), "threshold": threshold}
    assert len(detrs.call("detr-sigmoid", body).json()) == count


def test_a_request_writes_the_boxes_of_a_detection_transformer_into_a_task(
    detrs: Runtime, transactional_db: None, clean_redis: str, settings: Settings, alice: User,
    tmp_path: Path,
) -> None:  # fmt: skip
    files = []
    for number, (width, height) in enumerate(((64, 64), (128, 64))):
        files.append(tmp_path / f"{number}.png")
        Image.new("RGB", (width, height), (255, 255, 255)).save(files[-1])
    with app_of(detrs, settings):
        found = found_by_request(alice, "detr-sigmoid", ["cat", "dog"], files)
    assert [(frame, round(score, 2), points) for frame, score, points in found] == [
        (0, 0.6, [12, 12, 20, 20]),
        (0, 0.8, [24, 16, 40, 48]),
        (1, 0.6, [24, 12, 40, 20]),
        (1, 0.8, [48, 16, 80, 48]),
    ]


def test_a_wrong_number_of_labels_names_the_shapes(
    weights: Path, served: Runtime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("new", "onnx-detr", "wrong", "--weights", weights / "detr-sigmoid.onnx")
    run_cli(*words, "--labels", "a,b,c,d,e", "--into", tmp_path)
    assert main(["deploy", str(tmp_path), "--url", served.url]) == 1
    assert "with 5 labels they must be" in capsys.readouterr().err


def test_a_file_without_names_needs_labels(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["new", "onnx-detr", "wrong", "--weights", str(weights / "detr-sigmoid.onnx")]
    assert main([*words, "--into", str(tmp_path)]) == 1
    assert "give them with --labels" in capsys.readouterr().err
