"""Writes ONNX files whose answers are known: ``python make_graphs.py GRAPHS.json``.

It needs onnx, so it runs in an environment of its own. GRAPHS.json has a list of graphs. Each
output is a constant table, multiplied by the brightness of the image (its largest value, 0 to 1).
So the answer to a white image is the table itself.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

# Not an import statement: mypy would take the folder serverless/onnx for the package.
onnx: Any = importlib.import_module("onnx")
helper = onnx.helper
OPSET = 13


def make(description: dict[str, Any]) -> None:
    """Write one file."""
    nodes = [helper.make_node("ReduceMax", ["images"], ["brightness"], axes=[1, 2, 3], keepdims=0)]
    constants, outputs = [], []
    for number, (name, table) in enumerate(description["outputs"].items()):
        values = np.array(table, dtype=np.float32)
        shape = np.array([-1] + [1] * (values.ndim - 1), dtype=np.int64)
        constants += [
            onnx.numpy_helper.from_array(values, f"table{number}"),
            onnx.numpy_helper.from_array(shape, f"shape{number}"),
        ]
        nodes += [
            helper.make_node("Reshape", ["brightness", f"shape{number}"], [f"factor{number}"]),
            helper.make_node("Mul", [f"table{number}", f"factor{number}"], [name]),
        ]
        batch = description["input"][0]
        sides = [batch if isinstance(batch, str) else len(values), *values.shape[1:]]
        outputs.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sides))
    images = helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, description["input"])
    inputs = [images]
    if "sizes" in description:  # an input that the graph only multiplies boxes by
        name = description["sizes"]
        inputs.append(helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["n", 2]))
        nodes += [
            helper.make_node("Cast", [name], ["wh"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Concat", ["wh", "wh"], ["whwh"], axis=1),
            helper.make_node("Mul", ["relative", "whwh"], ["boxes"]),
        ]
        for node in nodes:  # the table of boxes is relative; the output is in pixels
            if node.op_type == "Mul" and node.output[0] == "boxes" and node.input[0] != "relative":
                node.output[0] = "relative"
    graph = helper.make_graph(nodes, "known", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 8
    for key, value in description["metadata"].items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, description["path"])


for each in json.loads(Path(sys.argv[1]).read_text()):
    make(each)
