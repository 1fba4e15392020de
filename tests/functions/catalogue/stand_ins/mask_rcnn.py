"""A stand-in for Mask R-CNN: the official inputs and outputs, and an answer that is known.

It "detects" a cup in the red rectangle, in BGR order only, whose mask is the box's left half.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino

from tests.functions.catalogue.stand_ins import red_box

CUP, EMPTY_CLASS = 47, 62


def _masks() -> np.ndarray:
    """Make masks of two classes: a cup's left half is full, the other one's is empty."""
    masks = np.zeros((2, 90, 33, 33), np.float32)
    masks[0, CUP - 1, :, :16] = 1.0
    masks[0, CUP - 1, :, 16] = 0.5  # the middle column, so that the edge is in its middle
    masks[0, CUP, :, :] = 1.0  # the neighbour class would fill the box
    return masks


def make(path: Path, *, colours_last: bool = False) -> Path:
    """Write the network. The axes of its picture have the order of either conversion."""
    ops = openvino.opset13
    shape = [1, 800, 1365, 3] if colours_last else [1, 3, 800, 1365]
    image = ops.parameter(shape, np.float32, name="image_tensor")
    info = ops.parameter([1, 3], np.float32, name="image_info")
    for parameter in (image, info):
        parameter.output(0).get_tensor().set_names({parameter.get_friendly_name()})
    order = ops.constant(np.array([0, 3, 1, 2] if colours_last else [0, 1, 2, 3]))
    box = red_box.find(ops, ops.transpose(image, order), width=1365, height=800)
    # scaled by the width and height that the function sends, so a wrong image_info is noticed
    height, width, _ = ops.split(ops.squeeze(info, ops.constant([0])), ops.constant(0), 3).outputs()
    relative = ops.divide(box, ops.concat([width, height, width, height], 0))
    head = ops.constant(np.array([0, CUP, 0.875], np.float32))
    own = ops.unsqueeze(ops.concat([head, relative], 0), ops.constant([0]))
    other = ops.constant(np.array([[0, EMPTY_CLASS, 0.9, 0.1, 0.1, 0.4, 0.4]], np.float32))
    outputs = {
        "reshape_do_2d": ops.concat([own, other], 0),
        "masks": ops.constant(_masks()),
    }
    return red_box.save(path, [image, info], outputs)
