"""Generated OpenVINO networks that find the red part of a BGR picture, so that the right answer is
known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino


def red_pixels(ops: Any, picture: Any) -> Any:
    """Return 1 x H x W of 0 and 1: where the last channel (red, in BGR order) stands out."""
    blue, _, red = ops.split(picture, ops.constant(1), 3).outputs()
    stands_out = ops.greater(ops.subtract(red, blue), ops.constant(np.float32(127)))
    return ops.squeeze(ops.convert(stands_out, "f32"), ops.constant([1]))


def extent(ops: Any, red: Any, *, across: int, size: int) -> tuple[Any, Any]:
    """Return the first and the last+1 red position along axis 1 (rows) or 2 (columns), each of
    shape [1].
    """
    line = ops.reduce_max(red, ops.constant([across]), False)  # 1 x size
    numbers = np.arange(size, dtype=np.float32)[None]
    found = ops.greater(line, ops.constant(np.float32(0.5)))
    first = ops.select(found, ops.constant(numbers), ops.constant(np.float32(1e6)))
    last = ops.select(found, ops.constant(numbers + 1), ops.constant(np.float32(0)))
    axis = ops.constant([1])
    return ops.reduce_min(first, axis, False), ops.reduce_max(last, axis, False)


def find(ops: Any, picture: Any, *, width: int, height: int) -> Any:
    """Return the red rectangle as a tensor of shape [4]: x0, y0, x1, y1 in the network's pixels."""
    red = red_pixels(ops, picture)
    x0, x1 = extent(ops, red, across=1, size=width)
    y0, y1 = extent(ops, red, across=2, size=height)
    return ops.concat([x0, y0, x1, y1], 0)


def save(path: Path, inputs: list[Any], outputs: dict[str, Any]) -> Path:
    """Write a network whose outputs have these names."""
    results = []
    for name, node in outputs.items():
        result = openvino.opset13.result(node.output(0), name)
        result.output(0).get_tensor().set_names({name})
        results.append(result)
    openvino.save_model(
        openvino.Model(results, inputs, "generated"), str(path), compress_to_fp16=False
    )
    return path
