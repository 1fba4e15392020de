"""Writes TensorFlow's GraphDef (tensorflow/core/framework/graph.proto) without TensorFlow.

It covers what frozen inference graphs need: nodes, their inputs, and attributes as bytes of an
AttrValue message. The field numbers are those of the public .proto files.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Numbers of the DataType enumeration.
DATA_TYPES = {
    "DT_FLOAT": 1,
    "DT_DOUBLE": 2,
    "DT_INT32": 3,
    "DT_UINT8": 4,
    "DT_STRING": 7,
    "DT_INT64": 9,
    "DT_BOOL": 10,
}
DATA_TYPE_OF = {"float32": 1, "int32": 3, "uint8": 4, "bool": 10}
FLOAT = DATA_TYPES["DT_FLOAT"]

# A producer version that current readers accept.
_PRODUCER = 1087


def graph(nodes: Iterable[bytes]) -> bytes:
    """Return a GraphDef of nodes made by `node`."""
    return b"".join(_bytes(1, each) for each in nodes) + _bytes(4, _number(1, _PRODUCER))


def node(
    name: str, operation: str, inputs: Iterable[str] = (), attributes: Mapping[str, bytes] = {}
) -> bytes:
    """Return a NodeDef; ``attributes`` maps names to AttrValue messages."""
    message = _text(1, name) + _text(2, operation) + b"".join(_text(3, each) for each in inputs)
    for key, value in attributes.items():
        message += _bytes(5, _text(1, key) + _bytes(2, value))
    return message


def type_value(data_type: int) -> bytes:
    """Return the AttrValue of a data type."""
    return _number(6, data_type)


def float_value(value: float) -> bytes:
    """Return the AttrValue of a float."""
    return _key(4, 5) + struct.pack("<f", value)


def bytes_value(value: bytes) -> bytes:
    """Return the AttrValue of a byte string."""
    return _bytes(2, value)


def int_value(value: int) -> bytes:
    """Return the AttrValue of an integer."""
    return _number(3, value)


def bool_value(value: bool) -> bytes:
    """Return the AttrValue of a truth value."""
    return _number(5, int(value))


def shape_value(sides: Iterable[int]) -> bytes:
    """Return the AttrValue of a tensor shape; -1 is an unknown side."""
    return _bytes(7, _shape(sides))


def tensor_value(values: NDArray[Any]) -> bytes:
    """Return the AttrValue of a constant tensor."""
    data_type = DATA_TYPE_OF[values.dtype.name]
    little_endian = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    tensor = _number(1, data_type) + _bytes(2, _shape(values.shape))
    return _bytes(8, tensor + _bytes(4, little_endian.tobytes()))


def list_value(
    *,
    strings: Iterable[bytes] = (),
    integers: Iterable[int] = (),
    floats: Iterable[float] = (),
    data_types: Iterable[int] = (),
) -> bytes:
    """Return the AttrValue of a list. At most one argument is given; none gives an empty list."""
    message = b"".join(_bytes(2, value) for value in strings)
    for field, packed in (
        (3, b"".join(map(_varint, integers))),
        (4, b"".join(struct.pack("<f", value) for value in floats)),
        (6, b"".join(map(_varint, data_types))),
    ):
        message += _bytes(field, packed) if packed else b""
    return _bytes(1, message)


def _shape(sides: Iterable[int]) -> bytes:
    return b"".join(_bytes(2, _number(1, side)) for side in sides)


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers travel as 64-bit two's complement
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _bytes(field: int, value: bytes) -> bytes:
    return _key(field, 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _number(field: int, value: int) -> bytes:
    return _key(field, 0) + _varint(value)
