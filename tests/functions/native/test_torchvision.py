"""The torchvision functions of CVAT's SDK with random weights, in folders of ``new --native``.

The official weights cannot be downloaded in tests. So the answers are checked for their form, and
for what does not depend on the weights.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functions.environments import Environment, prepare, run_command
from tests.functions.packaged.photographs import encoded
from tests.integration.runtime.harness import Runtime, running

pytestmark = pytest.mark.models
SDK_MODULE = "cvat_sdk.auto_annotation.functions.torchvision_"
SMALL = ["min_size=int:200", "max_size=int:300", "rpn_post_nms_top_n_test=int:20"]
FEW = ["box_score_thresh=float:0.0", "box_detections_per_img=int:3"]
SEGMENTATION = "torchvision-instance-segmentation"
KEYPOINTS = "torchvision-keypoint-detection"
# The function of the SDK -> the model of torchvision, and its parameters.
MODELS = {
    "classification": ("mobilenet_v3_small", []),
    "detection": ("fasterrcnn_mobilenet_v3_large_320_fpn", FEW),
    "instance_segmentation": ("maskrcnn_resnet50_fpn", [*SMALL, *FEW]),
    "keypoint_detection": ("keypointrcnn_resnet50_fpn", [*SMALL, *FEW]),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Environment, dict[str, str]]:
    """The environment of the functions, and the variable by which they find random weights."""
    scratch = tmp_path_factory.mktemp("torchvision")
    environment = prepare(
        "cvat-sdk[pytorch]>=2.54\nnumpy>=1.23\npillow>=10.3\nPyYAML>=6\n", scratch
    )
    home = {"TORCH_HOME": str(scratch / "torch")}
    script = Path(__file__).with_name("random_weights.py")
    names = [model for model, _ in MODELS.values()]
    environment.run(script, scratch / "torch", *names, **home)
    return environment, home


@pytest.fixture(scope="module")
def folders(
    prepared: tuple[Environment, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The folder of each function."""
    environment, home = prepared
    variables = {**environment.variables, **home}
    into = tmp_path_factory.mktemp("folders")
    found = {}
    for kind, (model, parameters) in MODELS.items():
        words = ["new", "--native", f"{SDK_MODULE}{kind}", "--into", str(into)]
        for parameter in (f"model_name=str:{model}", *parameters):
            words += ["-p", parameter]
        run_command(sys.executable, "-m", "cvat_lambda.runtime", *words, **variables)
        found[kind] = into / f"torchvision-{kind.replace('_', '-')}"
        environment.give_variables(found[kind], **home)
    return found


@pytest.fixture(scope="module")
def runtime(
    folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runtime]:
    """A runtime that serves the functions."""
    with running(list(folders.values()), tmp_path_factory.mktemp("state")) as served:
        yield served


def labels_of(runtime: Runtime, name: str) -> list[dict[str, Any]]:
    """Return the labels of a function when it is ready."""
    function = runtime.wait_for_state(name, "ready", "error")
    assert function["status"]["state"] == "ready", function["status"]
    labels: list[dict[str, Any]] = json.loads(function["metadata"]["annotations"]["spec"])
    return labels


def find(runtime: Runtime, name: str) -> list[dict[str, Any]]:
    """Return what a function finds on a photograph, at a threshold of 0."""
    answer = runtime.call(name, {"image": encoded("coffee"), "threshold": 0}, timeout=300)
    assert answer.status_code == 200, answer.text + runtime.log(name)
    items: list[dict[str, Any]] = answer.json()
    return items


def test_detection_passes_the_check(folders: dict[str, Path]) -> None:
    run_command(sys.executable, "-m", "cvat_lambda.runtime", "check", folders["detection"])


def test_classification_answers_one_tag_of_1000(runtime: Runtime) -> None:
    labels = labels_of(runtime, "torchvision-classification")
    assert len(labels) == 1000
    assert {label["type"] for label in labels} == {"tag"}
    (item,) = find(runtime, "torchvision-classification")
    assert item["type"] == "tag"
    assert item["label"] in [label["name"] for label in labels]


def test_detection_answers_rectangles_of_coco(runtime: Runtime) -> None:
    labels = labels_of(runtime, "torchvision-detection")
    assert len(labels) == 81  # 80 classes and the background
    items = find(runtime, "torchvision-detection")
    assert [item["type"] for item in items] == ["rectangle"] * 3
    for item in items:
        left, top, right, bottom = item["points"]
        assert 0 <= left < right <= 600
        assert 0 <= top < bottom <= 400


def test_instance_segmentation_answers_masks_in_their_boxes(runtime: Runtime) -> None:
    assert {label["type"] for label in labels_of(runtime, SEGMENTATION)} == {"mask"}
    items = find(runtime, SEGMENTATION)
    assert [item["type"] for item in items] == ["mask"] * 3
    for item in items:
        *pixels, left, top, right, bottom = item["mask"]
        assert len(pixels) == (right - left + 1) * (bottom - top + 1)
        assert set(pixels) <= {0, 1}


def test_keypoint_detection_answers_the_17_points_of_a_person(runtime: Runtime) -> None:
    (person,) = [label for label in labels_of(runtime, KEYPOINTS) if label["name"] == "person"]
    names = [each["name"] for each in person["sublabels"]]
    assert len(names) == 17
    assert person["svg"].count("<circle") == 17
    items = find(runtime, KEYPOINTS)
    assert [item["type"] for item in items] == ["skeleton"] * 3
    for item in items:
        assert [each["label"] for each in item["elements"]] == names
