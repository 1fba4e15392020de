"""The torchvision functions of CVAT's SDK with random weights, in folders of ``new --native``.

The official weights cannot be downloaded in tests. So the answers are checked for their form, and
for what does not depend on the weights.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cvat_lambda.runtime.environments.build import EnvironmentBuilder
from cvat_lambda.runtime.paths import cache_folder
from tests.functions.packaged.photographs import encoded
from tests.integration.runtime.harness import REPOSITORY, Runtime, running

pytestmark = pytest.mark.models
FUNCTIONS = "cvat_sdk.auto_annotation.functions.torchvision_"
SHIM = REPOSITORY / "tests" / "functions" / "catalogue" / "makers" / "torchvision_ops.py"
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


def run(*command: str | Path, **variables: str) -> str:
    """Run a command in the repository and return its output."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=REPOSITORY,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment variables with which the functions find random weights."""
    scratch = tmp_path_factory.mktemp("torchvision")
    (scratch / "requirements.txt").write_text(
        "cvat-sdk[pytorch]>=2.54\nnumpy>=1.23\npillow>=10.3\nPyYAML>=6\n"
    )
    builder = EnvironmentBuilder(cache_folder() / "environments")
    interpreter = builder.prepare(scratch, "3.11", print).interpreter
    found = {"TORCH_HOME": str(scratch / "torch")}
    imported = subprocess.run([interpreter, "-c", "import torchvision"], capture_output=True)
    if imported.returncode != 0:  # torchvision's wheel is for CUDA, PyTorch's is not
        (scratch / "start").mkdir()
        shutil.copy(SHIM, scratch / "start" / "sitecustomize.py")
        found["PYTHONPATH"] = str(scratch / "start")
    script = Path(__file__).with_name("random_weights.py")
    names = [model for model, _ in MODELS.values()]
    run(interpreter, script, scratch / "torch", *names, **found)
    return found


@pytest.fixture(scope="module")
def folders(variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each function."""
    into = tmp_path_factory.mktemp("folders")
    found = {}
    for kind, (model, parameters) in MODELS.items():
        words = ["new", "--native", f"{FUNCTIONS}{kind}", "--into", str(into)]
        for parameter in (f"model_name=str:{model}", *parameters):
            words += ["-p", parameter]
        run(sys.executable, "-m", "cvat_lambda.runtime", *words, **variables)
        found[kind] = into / f"torchvision-{kind.replace('_', '-')}"
        file = found[kind] / "function.yaml"
        document = yaml.safe_load(file.read_text())
        document["spec"]["env"] = [{"name": key, "value": variables[key]} for key in variables]
        file.write_text(yaml.safe_dump(document))
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
    run(sys.executable, "-m", "cvat_lambda.runtime", "check", folders["detection"])


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
