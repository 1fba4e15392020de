"""The fixture of TransT, by the authors' repository (chenxin-dlut/TransT).

Needs that repository (commit 2793ef3 was used) on PYTHONPATH, and scipy and
``torchvision==0.28.0`` (``--no-deps``) beside ``torch==2.13.0``. Re-run so: scores and boxes differ
from the file by at most 1e-6. None of its code is copied here, because it has another licence.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from ltr.models.backbone.transt_backbone import build_backbone
from ltr.models.neck.featurefusion_network import build_featurefusion_network
from ltr.models.tracking.transt import TransT

from tests.functions.catalogue.recipes import (
    fixture,
    official_shapes,
    random_picture,
    random_weights,
    samples,
)

# As in ltr/train_settings/transt/transt.py.
SETTINGS = SimpleNamespace(
    position_embedding="sine",
    hidden_dim=256,
    dropout=0.1,
    nheads=8,
    dim_feedforward=2048,
    featurefusion_layers=4,
)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # red, green, blue


def network(gains: dict[str, float]) -> Any:
    """Build the authors' network, filled with the recipe's weights."""
    backbone = build_backbone(SETTINGS, backbone_pretrained=False)
    model = TransT(backbone, build_featurefusion_network(SETTINGS), num_classes=1)
    weights = random_weights(official_shapes("transt.shapes.json"), gains)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return model.eval()


def patch(picture: np.ndarray) -> torch.Tensor:
    """Turn an RGB picture into the network's input."""
    pixels = torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32)) / 255
    return ((pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None])[
        None
    ]


def make() -> dict[str, Any]:
    """Return the fixture. The gains are those of the existing file."""
    present = fixture("transt.outputs.json")
    model = network(present["gains"])
    with torch.inference_mode():
        model.template(patch(random_picture(128, 128, seed=8)))
        found = model.track(patch(random_picture(256, 256, seed=9)))
        scores = found["pred_logits"].softmax(dim=2)[..., 0]
    return {
        "source": present["source"],
        "gains": present["gains"],
        "scores": samples(scores[0].numpy(), 256),
        "boxes": samples(found["pred_boxes"][0].numpy(), 256),
    }
