"""Arrays as JSON, for tracker states and embeddings: base64 of little-endian numbers.

In a binary body (see `common.binary`) the data of an embedding are raw bytes.
"""

from __future__ import annotations

import base64
import binascii
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The types that a client may send. Object arrays are not among them: reading one can run code.
DTYPES: dict[str, np.dtype[Any]] = {
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
    "uint8": np.dtype("u1"),
    "int32": np.dtype("<i4"),
}


def pack_array(values: NDArray[Any], dtype: str, *, raw: bool = False) -> dict[str, Any]:
    """Return the array as ``{"data": base64 or raw bytes, "shape": [...], "dtype": dtype}``."""
    data = np.ascontiguousarray(values, dtype=DTYPES[dtype]).tobytes()
    return {
        "data": data if raw else base64.b64encode(data).decode("ascii"),
        "shape": list(values.shape),
        "dtype": dtype,
    }


def unpack_array(packed: object, *, name: str) -> NDArray[Any]:
    """Return the array of `pack_array`; raise BadInput, naming ``name``, when it is damaged."""
    if not isinstance(packed, dict):
        raise BadInput(f"'{name}' is not an array with data, shape and dtype")
    dtype, shape, data = (packed.get(key) for key in ("dtype", "shape", "data"))
    if not isinstance(dtype, str) or dtype not in DTYPES or not isinstance(data, (str, memoryview)):
        raise BadInput(f"'{name}' has no data of a known dtype ({', '.join(sorted(DTYPES))})")
    if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape):
        raise BadInput(f"'{name}' has a shape that is not a list of sizes")
    try:
        raw = data if isinstance(data, memoryview) else base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput(f"'{name}' has data that are not base64 text") from error
    if len(raw) != math.prod(shape) * DTYPES[dtype].itemsize:
        raise BadInput(f"'{name}' has {len(raw)} bytes, which do not fit its shape {shape}")
    try:
        return np.frombuffer(raw, DTYPES[dtype]).reshape(shape)
    except (
        ValueError,
        OverflowError,
    ) as error:  # too many sides, or a 0 beside a huge one
        raise BadInput(f"'{name}' has a shape that no array has") from error
