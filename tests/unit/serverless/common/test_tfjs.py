from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common.tfjs import convert, read_weights


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Read a protobuf message: field numbers with integers, floats or bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, varint()
        elif kind == 5:
            yield key >> 3, struct.unpack("<f", message[at : at + 4])[0]
            at += 4
        else:
            assert kind == 2
            length = varint()
            yield key >> 3, message[at : at + length]
            at += length


def nodes(graph: bytes) -> list[dict[str, Any]]:
    """Read a GraphDef as name, op, inputs and raw attributes of each node."""
    read = []
    for number, content in fields(graph):
        if number != 1:
            continue
        parts = list(fields(content))
        pairs = [dict(fields(value)) for key, value in parts if key == 5]
        read.append(
            {
                "name": next(value for key, value in parts if key == 1).decode(),
                "op": next(value for key, value in parts if key == 2).decode(),
                "inputs": [value.decode() for key, value in parts if key == 3],
                "attributes": {pair[1].decode(): pair.get(2, b"") for pair in pairs},
            }
        )
    return read


def text(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


def write_model(
    folder: Path, described: list[dict[str, Any]], weights: list[tuple[dict[str, Any], np.ndarray]]
) -> Path:
    (folder / "model.bin").write_bytes(b"".join(values.tobytes() for _, values in weights))
    manifest = [{"paths": ["model.bin"], "weights": [entry for entry, _ in weights]}]
    model = {"modelTopology": {"node": described}, "weightsManifest": manifest}
    (folder / "model.json").write_text(json.dumps(model))
    return folder / "model.json"


@pytest.mark.parametrize(
    ("entry", "stored", "expected"),
    [
        ({"dtype": "float32"}, np.array([1.5, -2], "<f4"), [1.5, -2.0]),
        ({"dtype": "int32"}, np.array([3, -4], "<i4"), [3, -4]),
        (
            {"dtype": "float32", "quantization": {"dtype": "float16"}},
            np.array([0.5, 8], "<f2"),
            [0.5, 8.0],
        ),
        (
            {"dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1.0}},
            np.array([0, 4], "u1"),
            [-1.0, 1.0],
        ),
    ],
)
def test_quantised_weights_are_converted_to_floats(
    tmp_path: Path, entry: dict[str, Any], stored: np.ndarray, expected: list[float]
) -> None:
    (tmp_path / "a.bin").write_bytes(b"\0" * 4)  # the weight before it is in another shard
    (tmp_path / "b.bin").write_bytes(stored.tobytes())
    manifest = [
        {
            "paths": ["a.bin", "b.bin"],
            "weights": [
                {"name": "first", "shape": [], "dtype": "float32"},
                {"name": "w", "shape": [2, 1], **entry},
            ],
        }
    ]
    found = read_weights(manifest, tmp_path)
    assert found["w"].dtype == entry["dtype"]
    assert found["w"].shape == (2, 1)
    assert found["w"].ravel().tolist() == expected
    assert found["first"].shape == ()


def test_constant_node_contains_its_tensor(tmp_path: Path) -> None:
    values = np.array([[1, 2, 3]], "<i4")
    path = write_model(
        tmp_path,
        [{"name": "w", "op": "Const", "attr": {"dtype": {"type": "DT_INT32"}}}],
        [({"name": "w", "shape": [1, 3], "dtype": "int32"}, values)],
    )
    [node] = nodes(convert(path))
    assert (node["name"], node["op"]) == ("w", "Const")
    tensor = dict(fields(dict(fields(node["attributes"]["value"]))[8]))
    assert tensor[1] == 3  # DT_INT32
    assert np.frombuffer(tensor[4], "<i4").tolist() == [1, 2, 3]
    sides = [dict(fields(side))[1] for number, side in fields(tensor[2]) if number == 2]
    assert sides == [1, 3]


def test_fused_convolution_is_split_into_its_nodes(tmp_path: Path) -> None:
    described = {
        "name": "conv",
        "op": "_FusedConv2D",
        "input": ["x", "kernel", "bias", "slope"],
        "attr": {
            "fused_ops": {"list": {"s": [text("BiasAdd"), text("Prelu")]}},
            "strides": {"list": {"i": ["1", "2", "2", "1"]}},
            "padding": {"s": text("SAME")},
            "epsilon": {"f": 0.0},
        },
    }
    written = nodes(convert(write_model(tmp_path, [described], [])))
    assert [(node["op"], node["inputs"]) for node in written] == [
        ("Conv2D", ["x", "kernel"]),
        ("BiasAdd", ["conv/raw", "bias"]),
        ("Relu", ["conv/fused1"]),
        ("Neg", ["conv/fused1"]),
        ("Relu", ["conv/minus"]),
        ("Mul", ["conv/negative", "slope"]),
        ("Sub", ["conv/positive", "conv/sloped"]),
    ]
    assert written[-1]["name"] == "conv"  # other nodes refer to it by this name
    assert set(written[0]["attributes"]) == {
        "strides",
        "padding",
        "T",
    }  # epsilon is an attribute of the fused node
    packed = dict(fields(dict(fields(written[0]["attributes"]["strides"]))[1]))[3]
    assert list(packed) == [1, 2, 2, 1]


def test_a_fused_node_with_nothing_fused_keeps_its_name(tmp_path: Path) -> None:
    described = {"name": "m", "op": "_FusedMatMul", "input": ["x", "w"], "attr": {}}
    written = nodes(convert(write_model(tmp_path, [described], [])))
    assert [(node["name"], node["op"]) for node in written] == [
        ("m/raw", "MatMul"),
        ("m", "Identity"),
    ]


@pytest.mark.parametrize(
    ("value", "field", "expected"),
    [
        ({"type": "DT_FLOAT"}, 6, 1),
        ({"type": "DT_INT64"}, 6, 3),  # TensorFlow.js stores no 64-bit integers
        ({"type": 1}, 6, 1),
        ({"b": True}, 5, 1),
        ({"i": "7"}, 3, 7),
        ({"i": "-1"}, 3, (1 << 64) - 1),
        ({"f": 0.5}, 4, 0.5),
        ({"s": text("SAME")}, 2, b"SAME"),
    ],
)
def test_attributes_are_encoded_as_protobuf(
    tmp_path: Path, value: dict[str, Any], field: int, expected: object
) -> None:
    described = {"name": "n", "op": "Cast", "input": ["x"], "attr": {"a": value, "_private": value}}
    [node] = nodes(convert(write_model(tmp_path, [described], [])))
    assert list(node["attributes"]) == ["a"]
    assert list(fields(node["attributes"]["a"])) == [(field, expected)]


def test_an_unknown_side_of_a_shape_is_minus_one(tmp_path: Path) -> None:
    value = {"shape": {"dim": [{"size": "-1"}, {"size": "300"}]}}
    described = {"name": "x", "op": "Placeholder", "attr": {"shape": value}}
    [node] = nodes(convert(write_model(tmp_path, [described], [])))
    shape = dict(fields(node["attributes"]["shape"]))[7]
    assert [dict(fields(side))[1] for _, side in fields(shape)] == [(1 << 64) - 1, 300]
