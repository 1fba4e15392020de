"""The input of the Segment Anything models equals that which the library makes with torchvision."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.functions.environments import TEMPLATES, prepare

pytestmark = pytest.mark.models
# Prints the largest difference from torchvision for pictures that are scaled down and up.
COMPARE = """
import json, sys
import numpy as np
import torch
from torchvision.transforms.v2 import functional
sys.path.insert(0, "serverless")
from common.huggingface.squares import SquareInput
square = SquareInput(side=64, mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225))
random, found = np.random.default_rng(0), []
for height, width in ((200, 300), (64, 64), (40, 31), (1, 500)):
    picture = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    planes = torch.from_numpy(picture).permute(2, 0, 1)
    resized = functional.resize(planes, [64, 64], antialias=True).float() / 255
    expected = functional.normalize(resized, list(square.mean), list(square.deviation))
    prepared = square.prepare(picture, torch.device("cpu"))[0]
    found.append(float((prepared - expected).abs().max()))
print(json.dumps(found))
"""


def test_square_input_equals_that_of_torchvision(tmp_path: Path) -> None:
    environment = prepare((TEMPLATES / "torchvision.txt").read_text(), tmp_path)
    differences = json.loads(environment.run("-c", COMPARE))
    assert len(differences) == 4
    assert max(differences) < 1e-6
