"""The binary bodies that the app sends to functions that announce them (docs/binary-bodies.md).

The runtime passes bodies on without reading them. Its commands ``invoke`` and ``check`` send what
the app would send.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

BINARY_TYPE: Final = "application/x-cvat-lambda"
_REFERENCE: Final = "$bytes"


def announces_binary(annotations: Mapping[str, Any]) -> bool:
    """Return whether the annotations of a function say that it takes binary bodies."""
    return str(annotations.get("binary", "")).strip().lower() in ("true", "1")


def encode(payload: Mapping[str, Any]) -> bytes:
    """Return a call's fields as a binary body: its images and embedding as bytes, not as base64.

    A value that is no base64 text stays as it is.
    """
    parts: list[bytes] = []
    offset = 0

    def refer(value: object) -> object:
        nonlocal offset
        if isinstance(value, list):
            return [refer(each) for each in value]
        try:
            data = base64.b64decode(value, validate=True)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return value
        parts.append(data)
        offset += len(data)
        return {_REFERENCE: [offset - len(data), len(data)]}

    fields = dict(payload)
    for name in fields.keys() & {"image", "image0", "image1", "images"}:
        fields[name] = refer(fields[name])
    embedding = fields.get("embedding")
    if isinstance(embedding, dict):
        fields["embedding"] = {**embedding, "data": refer(embedding.get("data"))}
    text = json.dumps(fields, separators=(",", ":")).encode()
    return b"".join((len(text).to_bytes(4, "big"), text, *parts))


def decode(body: bytes, *, allow_bytes: bool = True, **options: Any) -> Any:
    """Return the value of a binary body, with base64 text in place of its bytes.

    ``options`` are those of ``json.loads``. Raise ValueError if the body is damaged, or holds bytes
    that are not allowed.
    """
    start = 4 + int.from_bytes(body[:4], "big")
    if len(body) < start:
        raise ValueError("the binary body is shorter than its JSON text")

    def resolve(value: dict[str, Any]) -> Any:
        if value.keys() != {_REFERENCE}:
            return value
        if not allow_bytes:
            raise ValueError("only an interactor may answer bytes")
        match value[_REFERENCE]:
            case [int(offset), int(size)] if 0 <= offset <= offset + size <= len(body) - start:
                data = body[start + offset : start + offset + size]
                return base64.b64encode(data).decode()
        raise ValueError(f"{_REFERENCE} is not [offset, size] of bytes in the body")

    return json.loads(body[4:start], object_hook=resolve, **options)
