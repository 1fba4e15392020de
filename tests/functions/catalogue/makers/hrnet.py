"""The fixture of HRNet-W32's 133 key points, by mmpose.

Needs ``mmpose==1.3.2 mmdet==3.3.0 mmcv-lite==2.1.0 mmengine==0.10.7`` and ``torchvision==0.28.0``
(all ``--no-deps``) beside ``torch==2.13.0``, and what these import: opencv-python-headless
(5.0.0.93 was used), pycocotools, scipy, matplotlib, shapely, addict, yapf, rich, terminaltables,
json_tricks, munkres, six. Re-run so: heat maps and scores differ from the file by at most 3e-6, key
points and the crop not at all. `other_boxes` was made by this run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mmpose
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine import Config
from mmengine.registry import init_default_scope
from mmpose.apis import inference_topdown, init_model
from mmpose.structures import PoseDataSample

from tests.functions.catalogue.recipes import (
    fixture,
    official_shapes,
    random_picture,
    random_weights,
    samples,
)

CONFIG = (
    Path(mmpose.__file__).parent / ".mim/configs/wholebody_2d_keypoint/topdown_heatmap/ubody2d/"
    "td-hm_hrnet-w32_8xb64-210e_ubody-256x192.py"
)
#: a box whose crop has the picture's own scale, then others: enlarged, tall, wide and cut off
BOX = [123.2, 47.6, 276.8, 252.4]
OTHER_BOXES = [
    [150.5, 90.25, 210.75, 171.5],
    [60.0, 10.0, 120.0, 290.0],
    [-20.0, 120.0, 330.0, 230.0],
]


def network(gains: dict[str, float]) -> Any:
    """Build mmpose's network from its own configuration, filled with the recipe's weights."""
    config = Config.fromfile(CONFIG)
    config.model.backbone.init_cfg = None  # otherwise it is downloaded
    model = init_model(config, None, device="cpu")
    weights = random_weights(official_shapes("hrnet_w32.shapes.json"), gains)
    given = {name: torch.from_numpy(value) for name, value in weights.items()}
    missing, unexpected = model.load_state_dict(given, strict=False)
    assert not unexpected
    assert all(name.startswith("data_preprocessor.") for name in missing)
    return model.eval()


def heat_maps(model: Any, picture: np.ndarray) -> np.ndarray:
    """Return the heat maps of a crop, without flip test."""
    image = torch.from_numpy(picture[..., ::-1].transpose(2, 0, 1).copy())  # BGR, as it is loaded
    with torch.inference_mode():
        given = {"inputs": [image], "data_samples": [PoseDataSample()]}
        data = model.data_preprocessor(given, False)
        maps = model(data["inputs"], None, mode="tensor")
    answer: np.ndarray = maps.numpy()
    return answer


def crop(model: Any, picture: np.ndarray, box: list[float]) -> np.ndarray:
    """Return what mmpose's pipeline cuts out for a box: 3 x 256 x 192, BGR."""
    init_default_scope("mmpose")
    pipeline = Compose(model.cfg.test_dataloader.dataset.pipeline)
    data = {
        "img": picture[..., ::-1].copy(),
        "bbox": np.array([box], dtype=np.float32),
        "bbox_score": np.ones(1, dtype=np.float32),
        **model.dataset_meta,
    }
    answer: np.ndarray = pipeline(data)["inputs"].numpy()
    return answer


def pose(model: Any, picture: np.ndarray, box: list[float]) -> dict[str, Any]:
    """Return a box with samples of its crop, and its key points and scores with flip test."""
    [found] = inference_topdown(model, picture[..., ::-1].copy(), np.array([box]))
    return {
        "box": box,
        "input": samples(crop(model, picture, box), 256),
        "keypoints": found.pred_instances.keypoints[0].tolist(),
        "scores": found.pred_instances.keypoint_scores[0].tolist(),
    }


def make() -> dict[str, Any]:
    """Return the fixture. The gains are those of the existing file."""
    present = fixture("hrnet_w32.outputs.json")
    model = network(present["gains"])
    picture = random_picture(300, 400, seed=6)
    return {
        "source": present["source"],
        "gains": present["gains"],
        "heat_maps": samples(heat_maps(model, random_picture(256, 192, seed=5)), 512),
        "flip_indices": list(model.dataset_meta["flip_indices"]),
        **pose(model, picture, BOX),
        "other_boxes": [pose(model, picture, box) for box in OTHER_BOXES],
    }
