"""Binary bodies: JSON text followed by raw bytes, without base64 (docs/binary-bodies.md).

Four bytes hold the length of the text (unsigned, big-endian). The text holds ``{"$bytes":
[offset, size]}`` in place of bytes; the offset is counted from the end of the text. The app sends
such bodies to functions that announce ``binary: "true"``, and accepts them as their answers. Every
other caller sends and gets plain JSON.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from common.errors import BadInput

CONTENT_TYPE = "application/x-cvat-lambda"
_LENGTH = struct.Struct("!I")
_REFERENCE = "$bytes"
_accepted: ContextVar[bool] = ContextVar("accepted", default=False)


def is_accepted() -> bool:
    """Return whether the caller of the present call sent a binary body, and so accepts one.

    It then also accepts the run lengths of a mask (``rle``) instead of its pixels.
    """
    return _accepted.get()


@contextmanager
def accepted(value: bool) -> Iterator[None]:
    """Set what `is_accepted` returns during a call."""
    token = _accepted.set(value)
    try:
        yield
    finally:
        _accepted.reset(token)


def decode(body: bytes) -> Any:
    """Return the value of a binary body, with views of its bytes; raise BadInput if damaged."""
    view = memoryview(body)
    start = _LENGTH.size + int.from_bytes(view[: _LENGTH.size], "big")
    if len(body) < start:
        raise BadInput("the body is shorter than its JSON text")

    def resolve(value: dict[str, Any]) -> Any:
        if value.keys() != {_REFERENCE}:
            return value
        place = value[_REFERENCE]
        if not isinstance(place, list) or list(map(type, place)) != [int, int]:
            raise BadInput(f"'{_REFERENCE}' is not [offset, size]")
        first, end = start + place[0], start + sum(place)
        if not start <= first <= end <= len(body):
            raise BadInput(f"'{_REFERENCE}' {place} lies outside the body")
        return view[first:end]

    try:
        return json.loads(bytes(view[_LENGTH.size : start]), object_hook=resolve)
    except BadInput:
        raise
    except ValueError as error:
        raise BadInput("the body does not begin with the length of a JSON text") from error


def encode(value: object) -> bytes:
    """Return a value that may hold bytes as a binary body."""
    parts: list[bytes] = []
    offset = 0

    def refer(data: object) -> dict[str, list[int]]:
        nonlocal offset
        if not isinstance(data, bytes):
            raise TypeError(f"an answer cannot hold {type(data).__name__}")
        parts.append(data)
        offset += len(data)
        return {_REFERENCE: [offset - len(data), len(data)]}

    text = json.dumps(value, separators=(",", ":"), allow_nan=False, default=refer).encode()
    return b"".join((_LENGTH.pack(len(text)), text, *parts))
