"""``new torchvision``: answers equal to those of torchvision, called directly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from PIL import Image
from pytest_django import Settings

from tests.functions.environments import TEMPLATES, prepare
from tests.integration.new_models.conftest import app_of, found_by_request, picture, run_cli
from tests.integration.runtime.harness import Runtime

pytestmark = pytest.mark.models
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


def test_answer_and_shapes_of_a_request_equal_those_of_torchvision(
    served: Runtime, transactional_db: None, clean_redis: str, settings: Settings, alice: User,
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    scratch = tmp_path_factory.mktemp("torchvision")
    path = scratch / "random.pth"
    environment = prepare((TEMPLATES / "torchvision.txt").read_text(), scratch)
    expected = json.loads(environment.run("-c", MAKE, path))
    words = ("new", "torchvision", "tv-boxes", "--model", MODEL, "--weights", path)
    run_cli(*words, "--labels", "cat,dog", "--into", tmp_path)
    environment.give_variables(tmp_path / "tv-boxes")
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
    frame = scratch / "white.png"
    Image.new("RGB", (64, 48), (255, 255, 255)).save(frame)
    with app_of(served, settings):
        shapes = found_by_request(alice, "tv-boxes", ["cat", "dog"], [frame], threshold=0.0)
    assert len(shapes) == len(found)
    assert sorted(score for _, score, _ in shapes) == pytest.approx(
        sorted(item["confidence"] for item in found)
    )
