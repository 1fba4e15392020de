"""The fixture of RTMDet-nano for people, by mmdet and a configuration of mmpose.

Needs what the maker of HRNet needs. Re-run so: logits and distances differ from the file by at most
2e-6.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mmpose
import torch
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine import Config

from tests.functions.catalogue.recipes import (
    fixture,
    official_shapes,
    random_picture,
    random_weights,
    samples,
)

CONFIG = (
    Path(mmpose.__file__).parent / ".mim/demo/mmdetection_cfg/rtmdet_nano_320-8xb32_coco-person.py"
)


def network(gains: dict[str, float]) -> Any:
    """Build mmdet's network from that configuration, filled with the recipe's weights."""
    register_all_modules()
    config = Config.fromfile(CONFIG).model
    config.backbone.init_cfg = None  # otherwise it is downloaded
    config.train_cfg = None  # and with it the assigner, which is for training
    model = MODELS.build(config)
    weights = random_weights(official_shapes("rtmdet_nano.shapes.json"), gains)
    given = {name: torch.from_numpy(value) for name, value in weights.items()}
    missing, unexpected = model.load_state_dict(given, strict=False)
    assert not unexpected
    assert all(name.startswith("data_preprocessor.") for name in missing)
    return model.eval()


def make() -> dict[str, Any]:
    """Return the fixture. The gains are those of the existing file."""
    present = fixture("rtmdet_nano.outputs.json")
    model = network(present["gains"])
    picture = random_picture(320, 320, seed=7)[..., ::-1]  # BGR, as it is loaded
    image = torch.from_numpy(picture.transpose(2, 0, 1).copy())
    with torch.inference_mode():
        data = model.data_preprocessor({"inputs": [image]}, False)
        logits, distances = model(data["inputs"], None, mode="tensor")
    return {
        "source": present["source"],
        "gains": present["gains"],
        "levels": [
            {"logits": samples(one.numpy(), 128), "distances": samples(other.numpy(), 128)}
            for one, other in zip(logits, distances, strict=True)
        ],
    }
