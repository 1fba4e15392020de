"""The fixture of RetinaNet R101, by Detectron2 (package pb1-detectron2).

Needs the unpacked sources of ``pb1-detectron2==0.6`` on PYTHONPATH (they do not build), and
``torchvision==0.28.0`` (``--no-deps``) beside ``torch==2.13.0``, with what it imports: fvcore,
iopath, yacs, omegaconf, hydra-core, antlr4-python3-runtime==4.9.3, cloudpickle, matplotlib,
pycocotools, tabulate, termcolor. Re-run so: logits and deltas differ from the file by at most 8e-6,
boxes by 2e-4 pixels, scores by 5e-7, anchors and classes not at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2 import model_zoo
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.modeling import build_model

from tests.functions.catalogue.recipes import fixture, random_picture, samples
from tests.functions.catalogue.stand_ins.checkpoints import retinanet_weights

CONFIG = "COCO-Detection/retinanet_R_101_FPN_3x.yaml"
SHORT_SIDE, LONG_SIDE = 160, 240  # pixels: the official sizes would take long


def network() -> Any:
    """Build Detectron2's network from its own configuration, filled with the fixture's weights."""
    config = model_zoo.get_config(CONFIG)
    config.MODEL.DEVICE = "cpu"
    config.MODEL.WEIGHTS = ""
    model = build_model(config)
    given = {name: torch.from_numpy(value) for name, value in retinanet_weights().items()}
    missing, unexpected = model.load_state_dict(given, strict=False)
    assert not unexpected
    constants = ("pixel_", "anchor_generator.")
    assert all(name.startswith(constants) for name in missing)
    return model.eval()


def make() -> dict[str, Any]:
    """Return the fixture; gains and class bias are those of the existing file."""
    present = fixture("retinanet_r101.outputs.json")
    model = network()
    picture = random_picture(120, 176, seed=1)
    bgr = np.ascontiguousarray(picture[..., ::-1])
    resized = ResizeShortestEdge(SHORT_SIDE, LONG_SIDE).get_transform(bgr).apply_image(bgr)
    image = torch.from_numpy(resized.transpose(2, 0, 1).astype(np.float32))
    height, width = picture.shape[:2]
    batch = [{"image": image, "height": height, "width": width}]
    with torch.inference_mode():
        found = model(batch)[0]["instances"]
        features = [model.backbone(model.preprocess_image(batch).tensor)[key] for key in KEYS]
        logits, deltas = model.head(features)
        anchors = model.anchor_generator(features)
    return {
        "gains": present["gains"],
        "class_bias": present["class_bias"],
        "source": present["source"],
        "levels": [
            {
                "logits": samples(_by_anchor(one, model.num_classes).numpy()),
                "deltas": samples(_by_anchor(other, 4).numpy()),
                "anchors": samples(boxes.tensor.numpy()),
            }
            for one, other, boxes in zip(logits, deltas, anchors, strict=True)
        ],
        "boxes": found.pred_boxes.tensor.tolist(),
        "scores": found.scores.tolist(),
        "classes": found.pred_classes.tolist(),
    }


KEYS = ("p3", "p4", "p5", "p6", "p7")


def _by_anchor(maps: torch.Tensor, values: int) -> torch.Tensor:
    """Turn 1 x (anchors a cell x values) x H x W into the anchors of all cells x values."""
    _, _, height, width = maps.shape
    split = maps.view(-1, values, height, width)
    return split.permute(2, 3, 0, 1).reshape(-1, values)
