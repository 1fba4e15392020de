"""The fixture of IOG, by a public copy of the authors' network (repository leal0110/SIS).

Needs that repository (commit e666096 was used) on PYTHONPATH beside ``torch==2.13.0``. Re-run so:
logits of up to 137 differ from the file by at most 3e-4. None of its code is copied here, because
it has no licence.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from networks.mainnetwork import Network

from tests.functions.catalogue.recipes import (
    fixture,
    official_shapes,
    random_picture,
    random_weights,
    samples,
)


def make() -> dict[str, Any]:
    """Return the fixture. The gains are those of the existing file."""
    present = fixture("iog.outputs.json")
    model = Network(nInputChannels=5, num_classes=1, backbone="resnet101", output_stride=16)
    weights = random_weights(official_shapes("iog.shapes.json"), present["gains"])
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    colours, guidance = random_picture(512, 512, seed=13), random_picture(512, 512, seed=14)
    inputs = np.concatenate([colours, guidance[..., :2]], axis=2).transpose(2, 0, 1)[None]
    with torch.inference_mode():
        logits = model.eval()(torch.from_numpy(inputs.astype(np.float32)))[4]  # of the fine net
    return {
        "source": present["source"],
        "gains": present["gains"],
        "logits": samples(logits.numpy(), 512),
    }
