"""``new torchvision``: labels, and weights by their checksums."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cvat_lambda.runtime.cli import main
from tests.integration.new_models.conftest import run_cli

MODEL = "ssdlite320_mobilenet_v3_large"


def test_without_weights_the_official_ones_are_fetched_by_the_checksum_in_their_name(
    tmp_path: Path,
) -> None:
    run_cli("new", "torchvision", "tv", "--model", "maskrcnn_resnet50_fpn_v2", "--into", tmp_path)
    document = yaml.safe_load((tmp_path / "tv" / "function.yaml").read_text())
    [entry] = document["x-cvat-lambda"]["weights"]
    assert entry["url"].endswith("/maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth")
    assert entry["sha256_prefix"] == "73cbd019"
    labels = json.loads(document["metadata"]["annotations"]["spec"])
    assert (len(labels), labels[0]["name"], labels[79]["name"]) == (80, "person", "toothbrush")
    settings = json.loads((tmp_path / "tv" / "model.json").read_text())
    assert (settings["labels"][1], settings["labels"][90]) == ("person", "toothbrush")
    assert settings["labels"][12] is None


def test_labels_without_weights_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["new", "torchvision", "tv", "--model", MODEL, "--labels", "a,b"]
    assert main([*words, "--into", str(tmp_path)]) == 1
    assert "add --weights, or remove --labels" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
