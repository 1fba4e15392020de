"""The ten function files of the catalogue: CVAT's ids, kinds and limits, and a GPU twin each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

SERVERLESS = Path(__file__).resolve().parents[4] / "serverless"

# folder -> id, kind, workers, event timeout, body limit in MiB (CVAT 2.54's own function files;
# the 30 s of the PyTorch functions are too short for a busy CPU)
CATALOGUE: dict[str, tuple[str, str, int, str, int]] = {
    "onnx/wongkinyiu/yolov7": ("onnx-wongkinyiu-yolov7", "detector", 2, "30s", 32),
    "openvino/omz/face_detection_0205": (
        "openvino-omz-intel-face-detection-0205", "detector", 2, "30000s", 32,
    ),
    "openvino/omz/mask_rcnn_inception_resnet_v2_atrous_coco": (
        "openvino-omz-public-mask-rcnn-inception-resnet-v2-atrous-coco", "detector", 2, "60s", 32,
    ),
    "openvino/omz/person_reidentification_retail_0277": (
        "openvino-omz-intel-person-reidentification-retail-0277", "reid", 2, "30s", 32,
    ),
    "pytorch/dschoerk/transt": ("pth-dschoerk-transt", "tracker", 1, "120s", 256),
    "pytorch/facebookresearch/retinanet_r101": (
        "pth-facebookresearch-detectron2-retinanet-r101", "detector", 2, "120s", 32,
    ),
    "pytorch/facebookresearch/sam_vit_h": (
        "pth-facebookresearch-sam-vit-h", "interactor", 2, "300s", 32,
    ),
    "pytorch/mmpose/hrnet32": ("pth-mmpose-hrnet32", "detector", 2, "120s", 32),
    "pytorch/shiyinzhang/iog": ("pth-shiyinzhang-iog", "interactor", 2, "120s", 32),
    "tensorflow/google/faster_rcnn_inception_v2_coco": (
        "tf-faster-rcnn-inception-v2-coco", "detector", 2, "30s", 32,
    ),
}  # fmt: skip
FOLDERS = sorted(CATALOGUE)


def _read(folder: str, file: str = "function.yaml") -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((SERVERLESS / folder / file).read_text("utf-8"))
    return content


def _trigger(document: dict[str, Any]) -> dict[str, Any]:
    [trigger] = document["spec"]["triggers"].values()
    return dict(trigger)


@pytest.mark.parametrize("folder", FOLDERS)
def test_id_kind_and_limits_are_cvats(folder: str) -> None:
    document, trigger = _read(folder), _trigger(_read(folder))
    limit = trigger["attributes"]["maxRequestBodySize"] // 2**20
    annotations = document["metadata"]["annotations"]
    assert CATALOGUE[folder] == (
        document["metadata"]["name"],
        annotations["type"],
        trigger["numWorkers"],
        document["spec"]["eventTimeout"],
        limit,
    )
    assert trigger["maxWorkers"] == trigger["numWorkers"]
    assert trigger["workerAvailabilityTimeoutMilliseconds"] == 10000
    assert document["spec"]["handler"] == "main:handler"
    assert document["spec"]["description"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_gpu_file_is_the_same_function_with_one_worker_and_one_gpu(folder: str) -> None:
    document, gpu = _read(folder), _read(folder, "function-gpu.yaml")
    assert gpu["metadata"] == document["metadata"]
    assert gpu["x-cvat-lambda"] == document["x-cvat-lambda"]
    assert _trigger(gpu) == {**_trigger(document), "numWorkers": 1, "maxWorkers": 1}
    [(resource, count)] = gpu["spec"]["resources"]["limits"].items()
    intel = folder.startswith("openvino/")
    assert resource == ("gpu.intel.com/i915" if intel else "nvidia.com/gpu")
    assert count == 1
    assert gpu["spec"]["build"]["image"] == document["spec"]["build"]["image"] + ":latest-gpu"


IMAGES = "site/content/en/images"  # of cvat-ai/cvat

#: folder of an interactor -> what CVAT's canvas is told about it (CVAT 2.54's own function files)
CANVAS: dict[str, dict[str, str]] = {
    "pytorch/facebookresearch/sam_vit_h": {
        "version": "2",
        "min_pos_points": "0",
        "min_neg_points": "0",
        "startswith_box_optional": "true",
        "animated_gif": "https://raw.githubusercontent.com/cvat-ai/cvat/"
        f"develop/{IMAGES}/hrnet_example.gif",
    },
    "pytorch/shiyinzhang/iog": {
        "version": "2",
        "min_pos_points": "1",
        "min_neg_points": "0",
        "startswith_box": "true",
        "animated_gif": "https://raw.githubusercontent.com/cvat-ai/cvat/"
        f"0fbb19ae3846a017853d52e187f0ce149adced7d/{IMAGES}/iog_example.gif",
    },
}


@pytest.mark.parametrize("folder", CANVAS)
@pytest.mark.parametrize("file", ["function.yaml", "function-gpu.yaml"])
def test_the_canvas_is_told_what_cvat_tells_it(folder: str, file: str) -> None:
    annotations = _read(folder, file)["metadata"]["annotations"]
    assert CANVAS[folder] == {
        key: value for key, value in annotations.items() if key in CANVAS[folder]
    }
    assert annotations["help_message"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_annotations_are_texts_as_kubernetes_wants_them(folder: str) -> None:
    annotations = _read(folder)["metadata"]["annotations"]
    assert {type(value) for value in annotations.values()} == {str}


@pytest.mark.parametrize("folder", FOLDERS)
def test_labels_have_names_and_types_once_each(folder: str) -> None:
    document = _read(folder)
    text = document["metadata"]["annotations"]["spec"]
    labels = json.loads(text) if text else []
    names = [label["name"] for label in labels]
    assert len(set(names)) == len(names)
    assert bool(labels) == (document["metadata"]["annotations"]["type"] == "detector")
    assert all(label["type"] in {"rectangle", "mask", "skeleton"} for label in labels)


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_folder_is_whole(folder: str) -> None:
    home = SERVERLESS / folder
    assert (home / "common").is_symlink()
    assert (home / "common").resolve() == SERVERLESS / "common"
    for file in ("main.py", "model.py", "README.md"):
        assert (home / file).stat().st_size > 0
    requirements = (home / "requirements.txt").read_text("utf-8").split()
    assert requirements == sorted(requirements)
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", line) for line in requirements)
    assert not any(line.startswith(("torchvision", "opencv")) for line in requirements)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_weights_file_has_a_licence_and_a_way_to_name_a_local_one(folder: str) -> None:
    weights = _read(folder)["x-cvat-lambda"]["weights"]
    assert weights
    for weight in weights:
        assert weight["licence"]
        assert weight["env"] in (SERVERLESS / folder / "README.md").read_text("utf-8")
        assert ("url" in weight) == ("sha256" in weight)
