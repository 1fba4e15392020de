"""A stand-in for YOLOv7's ONNX file: the official inputs and outputs, and an answer that is known.

It "detects" the red rectangle of the picture and sends it with two fixed candidates through a
NonMaxSuppression whose score threshold is 0.35, as in the official file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

SIDE = 640
# fixed candidates in the 640 x 640 square: x0, y0, x1, y1, class, score
FAINT = (600.0, 300.0, 632.0, 340.0, 57.0, 0.2)
HIDDEN = (601.0, 300.0, 632.0, 340.0, 57.0, 0.1)  # suppressed by FAINT


def _edges(axis: int) -> list[Any]:
    """Make nodes that find the first and the last+1 red column (axis 2) or row (axis 1)."""
    node = onnx.helper.make_node
    line, first, last = f"line{axis}", f"first{axis}", f"last{axis}"
    return [
        node("ReduceMax", ["red", f"axes{axis}"], [line], keepdims=0),  # 640
        node("ArgMax", [line], [f"{first}i"], axis=0, keepdims=1),
        node("ArgMax", [line], [f"{last}i"], axis=0, keepdims=1, select_last_index=1),
        node("Cast", [f"{first}i"], [first], to=onnx.TensorProto.FLOAT),
        node("Cast", [f"{last}i"], [f"{last}f"], to=onnx.TensorProto.FLOAT),
        node("Add", [f"{last}f", "one"], [last]),
    ]


def _nodes() -> list[Any]:
    node = onnx.helper.make_node
    return [
        node("Split", ["images"], ["r", "g", "b"], axis=1, num_outputs=3),
        node("Sub", ["r", "g"], ["redness"]),
        node("Greater", ["redness", "half"], ["is_red"]),
        node("Cast", ["is_red"], ["red4"], to=onnx.TensorProto.FLOAT),
        node("Squeeze", ["red4", "axes01"], ["red"]),  # 640 x 640
        *_edges(0),
        *_edges(1),
        node(
            "Concat",
            ["first0", "first1", "last0", "last1", "own_class", "own_score"],
            ["own"],
            axis=0,
        ),
        node("Unsqueeze", ["own", "axes0"], ["own2"]),
        node("Concat", ["own2", "others"], ["all"], axis=0),  # 3 x 6
        node("Slice", ["all", "zero_i", "four_i", "one_i"], ["boxes2"]),
        node("Slice", ["all", "five_i", "six_i", "one_i"], ["scores2"]),
        node("Unsqueeze", ["boxes2", "axes0"], ["boxes"]),
        node("Transpose", ["scores2"], ["scores1"], perm=[1, 0]),
        node("Unsqueeze", ["scores1", "axes0"], ["scores"]),
        node(
            "NonMaxSuppression", ["boxes", "scores", "most", "iou", "score_threshold"], ["chosen"]
        ),
        node("Gather", ["chosen", "two_i"], ["picked2"], axis=1),
        node("Squeeze", ["picked2", "axes1"], ["picked"]),
        node("Gather", ["all", "picked"], ["rows"], axis=0),
        node("Slice", ["rows", "zero_i", "one_i", "one_i"], ["first_column"]),
        node("Mul", ["first_column", "nought"], ["image_number"]),
        node("Concat", ["image_number", "rows"], ["output"], axis=1),
    ]


def _constants() -> list[Any]:
    floats = {
        "one": [1.0], "half": [0.5], "nought": [0.0], "iou": [0.65], "score_threshold": [0.35],
        "own_class": [63.0], "own_score": [0.875],
    }  # fmt: skip
    integers = {
        "axes01": [0, 1], "axes0": [0], "axes1": [1], "zero_i": [0], "one_i": [1], "two_i": [2],
        "four_i": [4], "five_i": [5], "six_i": [6], "most": [100],
    }  # fmt: skip
    array = onnx.numpy_helper.from_array
    return [
        *(array(np.array(value, np.float32), name) for name, value in floats.items()),
        *(array(np.array(value, np.int64), name) for name, value in integers.items()),
        array(np.array([FAINT, HIDDEN], np.float32), "others"),
    ]


def make(path: Path) -> Path:
    """Write the network."""
    helper = onnx.helper
    # Slicing columns needs the axis; rows of `all` are candidates.
    nodes = _nodes()
    for node in nodes:
        if node.op_type == "Slice":
            start, end = node.input[1], node.input[2]
            del node.input[1:]
            node.input.extend([start, end, "axes1"])
    graph = helper.make_graph(
        nodes,
        "generated",
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, ["rows", 7])],
        _constants(),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def make_batching(path: Path) -> Path:
    """Write a network that takes any number of pictures, as an export with a dynamic batch does.

    It finds one thing on each, half as high as the square and as wide as the picture is bright.
    """
    helper, array = onnx.helper, onnx.numpy_helper.from_array
    node = helper.make_node
    nodes = [
        node("ReduceMean", ["images", "all_axes"], ["bright"], keepdims=0),  # one a picture
        node("Mul", ["bright", "side"], ["width"]),
        node("Unsqueeze", ["width", "axes1"], ["x1"]),
        node("Mul", ["x1", "nought"], ["none"]),
        node("NonZero", ["bright"], ["places"]),  # 1 x pictures: none of them is black
        node("Cast", ["places"], ["numbers"], to=onnx.TensorProto.FLOAT),
        node("Transpose", ["numbers"], ["number"], perm=[1, 0]),
        node("Add", ["none", "half_side"], ["y1"]),
        node("Add", ["none", "class"], ["number_of_class"]),
        node("Add", ["none", "score"], ["likely"]),
        node(
            "Concat",
            ["number", "none", "none", "x1", "y1", "number_of_class", "likely"],
            ["output"],
            axis=1,
        ),
    ]
    floats = {"side": SIDE, "half_side": SIDE / 2, "nought": 0, "class": 63, "score": 0.875}
    graph = helper.make_graph(
        nodes,
        "batching",
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, ["rows", 7])],
        [
            *(array(np.array([value], np.float32), name) for name, value in floats.items()),
            array(np.array([1, 2, 3], np.int64), "all_axes"),
            array(np.array([1], np.int64), "axes1"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path
