"""A stand-in for the re-identification network: a crop's embedding is its mean colour (B, G, R)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino

from tests.functions.catalogue.stand_ins import red_box


def make(path: Path) -> Path:
    """Write the network."""
    ops = openvino.opset13
    data = ops.parameter([1, 3, 256, 128], np.float32, name="data")
    mean = ops.reduce_mean(data, ops.constant([2, 3]), False)
    return red_box.save(path, [data], {"reid_embedding": mean})
