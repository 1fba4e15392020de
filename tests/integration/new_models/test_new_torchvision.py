"""``new torchvision``: answers equal to those of torchvision, called directly."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cvat_lambda.runtime.cli import main
from tests.integration.new_models.conftest import picture, run_cli, run_with
from tests.integration.runtime.harness import Runtime, running

PACKAGES = ("torch==2.13.0", "torchvision==0.28.0", "numpy==2.4.6")
MODEL = "ssdlite320_mobilenet_v3_large"
# Writes random weights of three classes (one of them the background), and what the model answers
# to a white image.
MAKE = f"""
import json, sys, torch, torchvision
torch.manual_seed(1)
torch.set_num_threads(2)
model = torchvision.models.get_model("{MODEL}", weights=None, weights_backbone=None, num_classes=3)
torch.save(model.state_dict(), sys.argv[1])
with torch.inference_mode():
    [found] = model.eval()([torch.ones(3, 48, 64)])
print(json.dumps({{name: value.tolist() for name, value in found.items()}}))
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The file of random weights, and the answer of the model to a white image."""
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    return path, json.loads(run_with(PACKAGES, "-c", MAKE, str(path)))


@pytest.fixture
def own_runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """A runtime whose environments have the builds of PyPI, as `run_with` has.

    A mirror in pip's settings may offer builds of PyTorch that do not fit those of torchvision.
    """
    home = tmp_path_factory.mktemp("runtime")
    env = {
        "UV_FIND_LINKS": "",
        "CVAT_LAMBDA_CACHE": str(home / "cache"),
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv"),
    }
    with running([], home / "state", env=env) as runtime:
        yield runtime


def test_the_answer_equals_that_of_torchvision(
    weights: tuple[Path, dict[str, Any]], own_runtime: Runtime, tmp_path: Path
) -> None:
    path, expected = weights
    served = own_runtime
    words = ("new", "torchvision", "tv-boxes", "--model", MODEL, "--weights", path)
    run_cli(*words, "--labels", "cat,dog", "--into", tmp_path)
    run_cli("deploy", tmp_path, "--url", served.url)
    found = served.call("tv-boxes", {"image": picture(64, 48), "threshold": 0}).json()
    rows = list(zip(expected["labels"], expected["scores"], expected["boxes"], strict=True))
    rows = [row for row in rows if row[2][2] > row[2][0] and row[2][3] > row[2][1]]
    assert len(rows) > 10
    assert [(item["label"], item["confidence"]) for item in found] == [
        (("cat", "dog")[label - 1], pytest.approx(score, abs=2e-4)) for label, score, _ in rows
    ]
    for item, (_, _, box) in zip(found, rows, strict=True):
        assert item["points"] == pytest.approx(box, abs=0.05)
    assert served.call("tv-boxes", {"image": picture(64, 48), "threshold": 1}).json() == []


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
