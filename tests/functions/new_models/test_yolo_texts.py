"""``new yolo`` with exports of YOLOE and YOLO-World: their texts are fixed classes of the file."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.integration.new_models.conftest import run_cli, run_with
from tests.integration.runtime.harness import Runtime

pytestmark = pytest.mark.models
PACKAGES = (
    "ultralytics==8.4.190",
    "onnx==1.23.2",
    "onnxruntime",
    "onnxslim",
    "opencv-python-headless",
)
COMPARED = 60  # the best items of each network


def covered(mask: list[int]) -> int:
    """Return how many pixels of a mask in CVAT's format are set."""
    return sum(mask[:-4])


def same_place(item: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether an item has the label, the score and the box of a detection."""
    if item["label"] != other["label"] or abs(item["confidence"] - other["score"]) > 2e-3:
        return False
    if item["type"] == "rectangle":
        return bool(np.abs(np.subtract(item["points"], other["points"])).max() < 0.5)
    area = covered(item["mask"])
    return abs(area - other["area"]) <= max(40, 0.03 * other["area"])


def test_texts_of_an_export_are_the_labels_and_its_objects_are_those_of_ultralytics(
    served: Runtime, tmp_path: Path
) -> None:
    picture = tmp_path / "picture.png"
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((400, 300), Image.Resampling.BICUBIC).save(picture)
    script = Path(__file__).with_name("text_exports.py")
    printed = run_with(PACKAGES, str(script), str(tmp_path), str(picture))
    expected = json.loads(printed.splitlines()[-1])
    for name in expected:
        words = ("--weights", tmp_path / f"{name}.onnx", "--into", tmp_path / "functions")
        run_cli("new", "yolo", f"texts-{name}", *words)
    run_cli("deploy", tmp_path / "functions", "--url", served.url)
    body = {"image": base64.b64encode(picture.read_bytes()).decode()}
    for name, detections in expected.items():
        annotations = served.function(f"texts-{name}")["metadata"]["annotations"]
        labels = [label["name"] for label in json.loads(annotations["spec"])]
        assert labels == ["a red car", "cat", "person on a bike"]
        best = detections[:COMPARED]
        body["threshold"] = best[-1]["score"] - 1e-4
        items = served.call(f"texts-{name}", body).json()
        assert {item["type"] for item in items} == {"mask" if name == "yoloe" else "rectangle"}
        assert abs(len(items) - COMPARED) <= 2
        unmatched = [each for each in best if not any(same_place(item, each) for item in items)]
        assert len(unmatched) <= 2, unmatched  # scores at the limit of suppression
