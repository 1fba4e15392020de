"""Converts a TensorFlow.js graph model (model.json and its .bin shards) to a frozen GraphDef.

It needs numpy only. TensorFlow.js fuses operations and quantises weights. The conversion undoes
both, so that any reader of frozen graphs can read the result.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common import graph_def as g

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The plain operation inside each fused one, and the attributes that belong to it.
FUSED = {
    "_FusedConv2D": "Conv2D",
    "FusedDepthwiseConv2dNative": "DepthwiseConv2dNative",
    "_FusedMatMul": "MatMul",
}
_CONVOLUTION = ("strides", "padding", "data_format", "dilations", "explicit_paddings")
OWN_ATTRIBUTES = {
    "Conv2D": _CONVOLUTION,
    "DepthwiseConv2dNative": _CONVOLUTION,
    "MatMul": ("transpose_a", "transpose_b"),
}
_FLOAT = {"T": g.type_value(g.FLOAT)}
_DEFAULT_LEAK = 0.2  # TensorFlow's default slope of LeakyRelu


def convert(model_json: Path) -> bytes:
    """Return the graph model as a serialized GraphDef; the shards lie beside ``model_json``."""
    model = json.loads(model_json.read_text())
    constants = read_weights(model["weightsManifest"], model_json.parent)
    return g.graph(
        written
        for described in model["modelTopology"]["node"]
        for written in _nodes(described, constants)
    )


def read_weights(manifest: list[dict[str, Any]], folder: Path) -> dict[str, NDArray[Any]]:
    """Return the weights by name, dequantised: float16 by a cast, integers by scale and minimum."""
    weights: dict[str, NDArray[Any]] = {}
    for group in manifest:
        content = b"".join((folder / name).read_bytes() for name in group["paths"])
        offset = 0
        for entry in group["weights"]:
            quantization = entry.get("quantization", {})
            stored = np.dtype(quantization.get("dtype", entry["dtype"]))
            count = math.prod(entry["shape"])
            values = np.frombuffer(content, stored, count, offset)
            offset += count * stored.itemsize
            if "scale" in quantization:
                values = values.astype(np.float32) * quantization["scale"] + quantization["min"]
            weights[entry["name"]] = values.astype(entry["dtype"]).reshape(entry["shape"])
    return weights


def _nodes(described: dict[str, Any], constants: dict[str, NDArray[Any]]) -> Iterator[bytes]:
    """Yield the unfused nodes of one node of the model."""
    name, operation = described["name"], described["op"]
    inputs, attributes = described.get("input", []), described.get("attr", {})
    if operation == "Const" and name in constants:
        values = constants[name]
        data_type = g.type_value(g.DATA_TYPE_OF[values.dtype.name])
        yield g.node(name, "Const", (), {"dtype": data_type, "value": g.tensor_value(values)})
    elif operation in FUSED:
        yield from _unfused(name, FUSED[operation], inputs, attributes)
    elif operation == "Prelu":
        yield from _prelu(name, inputs[0], inputs[1])
    else:
        written = {
            key: attribute(value) for key, value in attributes.items() if not key.startswith("_")
        }
        yield g.node(name, operation, inputs, written)


def _unfused(
    name: str, operation: str, inputs: list[str], attributes: dict[str, Any]
) -> Iterator[bytes]:
    """Yield the operation, then a node for each operation that was fused with it."""
    own = {
        key: attribute(attributes[key]) for key in OWN_ATTRIBUTES[operation] if key in attributes
    }
    current, extra = f"{name}/raw", list(inputs[2:])
    yield g.node(current, operation, inputs[:2], {**own, **_FLOAT})
    fused = _strings(attributes.get("fused_ops", {})) or ["Identity"]
    for number, follower in enumerate(fused, start=1):
        # The last node takes the fused one's name, because others refer to it.
        target = name if number == len(fused) else f"{name}/fused{number}"
        if follower == "BiasAdd":
            yield g.node(target, follower, [current, extra.pop(0)], _FLOAT)
        elif follower == "Prelu":
            yield from _prelu(target, current, extra.pop(0))
        elif follower == "LeakyRelu":
            slope = attributes.get("leakyrelu_alpha", {"f": _DEFAULT_LEAK})
            yield g.node(target, follower, [current], {**_FLOAT, "alpha": attribute(slope)})
        else:
            yield g.node(target, follower, [current], _FLOAT)
        current = target


def _prelu(name: str, source: str, slope: str) -> Iterator[bytes]:
    """Yield max(x, 0) - slope * max(-x, 0), because GraphDef has no operation Prelu."""
    yield g.node(f"{name}/positive", "Relu", [source], _FLOAT)
    yield g.node(f"{name}/minus", "Neg", [source], _FLOAT)
    yield g.node(f"{name}/negative", "Relu", [f"{name}/minus"], _FLOAT)
    yield g.node(f"{name}/sloped", "Mul", [f"{name}/negative", slope], _FLOAT)
    yield g.node(name, "Sub", [f"{name}/positive", f"{name}/sloped"], _FLOAT)


def attribute(value: dict[str, Any]) -> bytes:
    """Return the AttrValue message of an attribute as protobuf's JSON form writes it."""
    for kind, write in _WRITERS.items():
        if kind in value:
            return write(value[kind])
    return b""


def _data_type(value: str | int) -> int:
    number = g.DATA_TYPES[value] if isinstance(value, str) else value
    # TensorFlow.js has no 64-bit integers: it stores such constants as 32-bit ones.
    return g.DATA_TYPES["DT_INT32"] if number == g.DATA_TYPES["DT_INT64"] else number


def _sides(value: dict[str, Any]) -> list[int]:
    return [int(side.get("size", 0)) for side in value.get("dim", [])]


def _list(value: dict[str, Any]) -> bytes:
    return g.list_value(
        strings=[base64.b64decode(text) for text in value.get("s", [])],
        integers=[int(number) for number in value.get("i", [])],
        floats=[float(number) for number in value.get("f", [])],
        data_types=[_data_type(each) for each in value.get("type", [])],
    )


def _strings(value: dict[str, Any]) -> list[str]:
    return [base64.b64decode(text).decode() for text in value.get("list", {}).get("s", [])]


_WRITERS = {
    "type": lambda value: g.type_value(_data_type(value)),
    "shape": lambda value: g.shape_value(_sides(value)),
    "s": lambda value: g.bytes_value(base64.b64decode(value)),
    "i": lambda value: g.int_value(int(value)),
    "f": lambda value: g.float_value(float(value)),
    "b": g.bool_value,
    "list": _list,
}
