"""The ten function files of the catalogue: CVAT's ids, kinds and limits, and a GPU twin each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

SERVERLESS = Path(__file__).resolve().parents[4] / "serverless"

# folder -> id, kind, workers, event timeout of CVAT 2.54's own function file, body limit in MiB.
# CVAT 2.54 has no ReID function. That row has the values of CVAT's last one.
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
    "pytorch/dschoerk/transt": ("pth-dschoerk-transt", "tracker", 1, "30s", 256),
    "pytorch/facebookresearch/retinanet_r101": (
        "pth-facebookresearch-detectron2-retinanet-r101", "detector", 2, "30s", 32,
    ),
    "pytorch/facebookresearch/sam_vit_h": (
        "pth-facebookresearch-sam-vit-h", "interactor", 2, "30s", 32,
    ),
    "pytorch/mmpose/hrnet32": ("pth-mmpose-hrnet32", "detector", 2, "30s", 32),
    "pytorch/shiyinzhang/iog": ("pth-shiyinzhang-iog", "interactor", 2, "30s", 32),
    "tensorflow/google/faster_rcnn_inception_v2_coco": (
        "tf-faster-rcnn-inception-v2-coco", "detector", 2, "30s", 32,
    ),
}  # fmt: skip
# folder -> CVAT's event timeout, ours: what takes longer on a busy CPU than CVAT allows. Whoever
# calls them through a stock CVAT is cut off at CVAT's own limit all the same.
LONGER_TIMEOUTS: dict[str, tuple[str, str]] = {
    "pytorch/dschoerk/transt": ("30s", "120s"),  # 8 objects per batch, 3 s each
    "pytorch/facebookresearch/retinanet_r101": (
        "30s",
        "120s",
    ),  # 5 s per picture, 4 pictures per call
    "pytorch/facebookresearch/sam_vit_h": ("30s", "300s"),  # the encoder alone takes minutes
    "pytorch/mmpose/hrnet32": ("30s", "120s"),  # 0.5 s per person, 100 people
    "pytorch/shiyinzhang/iog": ("30s", "120s"),  # 9 s a mask beside other work
}
FOLDERS = sorted(CATALOGUE)


def _read(folder: str, file: str = "function.yaml") -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((SERVERLESS / folder / file).read_text("utf-8"))
    return content


def _trigger(document: dict[str, Any]) -> dict[str, Any]:
    [trigger] = document["spec"]["triggers"].values()
    return dict(trigger)


@pytest.mark.parametrize("folder", FOLDERS)
def test_id_kind_workers_and_body_limit_equal_those_of_cvat(folder: str) -> None:
    document, trigger = _read(folder), _trigger(_read(folder))
    limit = trigger["attributes"]["maxRequestBodySize"] // 2**20
    annotations = document["metadata"]["annotations"]
    name, kind, workers, _, body_limit = CATALOGUE[folder]
    assert (document["metadata"]["name"], annotations["type"]) == (name, kind)
    assert (trigger["numWorkers"], trigger["maxWorkers"], limit) == (workers, workers, body_limit)
    assert trigger["workerAvailabilityTimeoutMilliseconds"] == 10000
    assert document["spec"]["handler"] == "main:handler"
    assert document["spec"]["description"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_timeouts_equal_those_of_cvat_except_for_five_slow_functions(folder: str) -> None:
    cvats = CATALOGUE[folder][3]
    stated, ours = LONGER_TIMEOUTS.get(folder, (cvats, cvats))
    assert stated == cvats
    assert _read(folder)["spec"]["eventTimeout"] == ours
    assert _read(folder, "function-gpu.yaml")["spec"]["eventTimeout"] == ours


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_gpu_file_is_the_same_function_with_one_worker_and_one_gpu(folder: str) -> None:
    document, gpu = _read(folder), _read(folder, "function-gpu.yaml")
    assert gpu["metadata"] == document["metadata"]
    for extras in (gpu["x-cvat-lambda"], document["x-cvat-lambda"]):
        extras.pop("workers", None)
    assert gpu["x-cvat-lambda"] == document["x-cvat-lambda"]
    assert _trigger(gpu) == {**_trigger(document), "numWorkers": 1, "maxWorkers": 1}
    [(resource, count)] = gpu["spec"]["resources"]["limits"].items()
    intel = folder.startswith("openvino/")
    assert resource == ("gpu.intel.com/i915" if intel else "nvidia.com/gpu")
    assert count == 1
    assert gpu["spec"]["build"]["image"] == document["spec"]["build"]["image"] + ":latest-gpu"


def test_every_function_takes_frames_of_videos_as_bmp_files() -> None:
    """A worker needs more time to encode a PNG file than many a function needs for the frame."""
    announced = {
        file.relative_to(SERVERLESS).as_posix(): yaml.safe_load(file.read_text("utf-8"))["metadata"]
        for file in SERVERLESS.glob("*/*/*/function*.yaml")
    }
    assert len(announced) > len(FOLDERS)
    for name, metadata in announced.items():
        annotations = metadata["annotations"]
        assert annotations["binary"] == "true", name
        assert "image/bmp" in annotations["accepts"].split(","), name


#: the memories of its objects are in its one worker
TRACKER = "pytorch/facebookresearch/sam2_tracker"


def test_workers_of_functions_on_transformers_are_threads_with_one_model_on_a_gpu() -> None:
    kinds = {
        file.parent.relative_to(SERVERLESS).as_posix(): yaml.safe_load(file.read_text("utf-8"))[
            "x-cvat-lambda"
        ].get("workers")
        for file in SERVERLESS.glob("*/*/*/function-gpu.yaml")
        if "transformers==" in (file.parent / "requirements.txt").read_text("utf-8")
    }
    assert kinds.pop(TRACKER) is None
    assert len(kinds) == 8
    assert set(kinds.values()) == {"threads"}


LARGE = 2**30  # bytes of weights of which a machine should not hold a copy for each worker


def _weights_bytes(document: dict[str, Any]) -> float:
    """Return the size of a function's weights: that of its files, or 4 bytes for each parameter.

    The files of hubs have no size in the function file. The table of the docs has their parameters.
    """
    files = document.get("x-cvat-lambda", {}).get("weights", [])
    table = (SERVERLESS.parent / "docs" / "functions.md").read_text("utf-8")
    row = rf"^\| \[`{document['metadata']['name']}`\]\(.*\| ([\d, and]+) \|[^|]*\|$"
    [parameters] = re.findall(row, table, re.MULTILINE) or ["0"]
    in_millions = max(int(number) for number in re.findall(r"\d+", parameters))
    return float(max(sum(file.get("size", 0) for file in files), 4e6 * in_millions))


def test_functions_with_large_weights_have_one_worker_or_workers_that_share_the_model() -> None:
    large = set()
    for path in SERVERLESS.glob("*/*/*/function*.yaml"):
        document = yaml.safe_load(path.read_text("utf-8"))
        if _weights_bytes(document) <= LARGE:
            continue
        large.add(path.relative_to(SERVERLESS).as_posix())
        trigger, extras = _trigger(document), document["x-cvat-lambda"]
        workers = max(trigger["numWorkers"], trigger["maxWorkers"])
        assert workers == 1 or extras.get("workers") == "threads", path
    assert large == {
        f"{folder}/{file}"
        for folder in ("huggingface/facebook/sam3", "pytorch/facebookresearch/sam_vit_h")
        for file in ("function.yaml", "function-gpu.yaml")
    }


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
def test_annotations_for_the_canvas_equal_those_of_cvat(folder: str, file: str) -> None:
    annotations = _read(folder, file)["metadata"]["annotations"]
    assert CANVAS[folder] == {
        key: value for key, value in annotations.items() if key in CANVAS[folder]
    }
    assert annotations["help_message"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_annotations_are_text_as_kubernetes_requires(folder: str) -> None:
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


# id -> name, type, attributes and names of sublabels of each label in CVAT 2.54's function.yaml
CVAT_LABELS: dict[str, list[dict[str, Any]]] = json.loads(
    (SERVERLESS.parent / "tests/data/catalogue/cvat_labels.json").read_text("utf-8")
)


@pytest.mark.parametrize("file", ["function.yaml", "function-gpu.yaml"])
@pytest.mark.parametrize("folder", FOLDERS)
def test_labels_are_those_of_cvats_function_of_this_id(folder: str, file: str) -> None:
    metadata = _read(folder, file)["metadata"]
    name, text = metadata["name"], metadata["annotations"]["spec"]
    if metadata["annotations"]["type"] == "reid":
        assert name not in CVAT_LABELS  # CVAT 2.54 does not have this function
    expected = CVAT_LABELS.get(name, [])
    labels = json.loads(text) if text else []
    assert len(labels) == len(expected)
    for ours, cvats in zip(labels, expected, strict=True):
        assert (ours["name"], ours["type"]) == (cvats["name"], cvats["type"])
        assert ours.get("attributes", []) == cvats.get("attributes", [])
        sublabels = [sublabel["name"] for sublabel in ours.get("sublabels", [])]
        assert sublabels == cvats.get("sublabels", [])


@pytest.mark.parametrize("folder", FOLDERS)
def test_catalogue_folder_has_all_files(folder: str) -> None:
    home = SERVERLESS / folder
    assert (home / "common").is_symlink()
    assert (home / "common").resolve() == SERVERLESS / "common"
    for name in ("main.py", "model.py", "README.md"):
        assert (home / name).stat().st_size > 0
    for file in home.glob("requirements*.txt"):
        requirements = file.read_text("utf-8").split()
        assert requirements == sorted(requirements)
        assert all(re.fullmatch(r"[\w-]+(\[[\w,-]+\])?==[\w.]+", line) for line in requirements)
        assert not any(line.startswith("torchvision") for line in requirements)


def test_mask_rcnn_is_converted_by_the_same_command_in_images_and_readme() -> None:
    folder = "openvino/omz/mask_rcnn_inception_resnet_v2_atrous_coco"

    def arguments(text: str) -> set[str]:
        """Return the optimizer's arguments, its package, the archive and its checksum."""
        command = text.partition("/mo ")[2].partition("&&")[0]
        found = set(re.findall(r"--\w+(?:=[^\s\"]+)?", command))
        found |= set(re.findall(r"https://[^\s']+|\b[0-9a-f]{96}\b|openvino-dev[^\"]+", text))
        return {each.replace("/tmp/", "").replace("/opt/nuclio/", "") for each in found}

    wanted = arguments((SERVERLESS / folder / "README.md").read_text("utf-8"))
    assert len(wanted) == 11 + 3
    for file in ("function.yaml", "function-gpu.yaml"):
        [run] = [
            directive["value"]
            for directive in _read(folder, file)["spec"]["build"]["directives"]["preCopy"]
            if "/mo " in directive["value"]
        ]
        assert arguments(run) == wanted


# folder -> why its weights cannot be downloaded: there is no published checksum
NOT_FETCHED = {
    "openvino/omz/mask_rcnn_inception_resnet_v2_atrous_coco": "a person's own conversion",
    "pytorch/dschoerk/transt": "on Google Drive, without a checksum",
    "pytorch/facebookresearch/retinanet_r101": "published without a checksum",
    "pytorch/shiyinzhang/iog": "on Google Drive, without a checksum",
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_weights_file_has_a_licence_and_a_way_to_name_a_local_one(folder: str) -> None:
    weights = _read(folder)["x-cvat-lambda"]["weights"]
    assert weights
    readme = (SERVERLESS / folder / "README.md").read_text("utf-8")
    for weight in weights:
        assert weight["licence"]
        assert weight["env"] in readme
        assert ("url" in weight) == (folder not in NOT_FETCHED)


@pytest.mark.parametrize("folder", FOLDERS)
def test_images_download_weights_from_the_same_source_as_the_runtime(folder: str) -> None:
    for file in ("function.yaml", "function-gpu.yaml"):
        document = _read(folder, file)
        directives = document["spec"]["build"]["directives"]["preCopy"]
        text = "\n".join(directive["value"] for directive in directives)
        for weight in document["x-cvat-lambda"]["weights"]:
            assert weight.get("url", "") in text
            name, _, ending = weight["file"].rpartition(".")
            # The model optimizer gets the folder and the name without its suffix.
            converted = f"--model_name={name} --output_dir=/opt/nuclio/weights" in text
            assert f"weights/{weight['file']}" in text or (converted and ending == "xml")
