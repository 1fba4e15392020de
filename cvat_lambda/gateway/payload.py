"""Encode the bodies of invocations: JSON with images in base64, or a binary body.

The JSON is joined from bytes. A JSON encoder would copy and scan the base64 of an image, some
100 KB, four times more.

A binary body is for functions that announce ``binary: "true"``. It holds four bytes with the
length of the JSON text (unsigned, big-endian), the JSON text, and then raw bytes. Where JSON would
hold base64, it holds ``{"$bytes": [offset, size]}``; the offset is counted from the end of the
text. Such a function may answer in this form as well (docs/binary-bodies.md).
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

JSON: TypeAlias = Any  # a value that `json.dumps` takes
Images: TypeAlias = Mapping[str, "bytes | Sequence[bytes]"]

BINARY_TYPE: Final = "application/x-cvat-lambda"  # content type of a binary body
# With a charset, Nuclio's Python wrapper would pass bytes to the handler instead of JSON.
_JSON_TYPE: Final = "application/json"
_LENGTH: Final = struct.Struct("!I")
_REFERENCE: Final = "$bytes"


class Pieces:
    """A body in several pieces, which are sent one after the other: megabytes are not joined."""

    __slots__ = ("pieces",)

    def __init__(self, *pieces: bytes | memoryview) -> None:
        self.pieces = pieces

    def __len__(self) -> int:
        """Return the number of bytes."""
        return sum(map(len, self.pieces))


Body: TypeAlias = "bytes | Pieces"


def pieces_of(body: Body) -> tuple[bytes | memoryview, ...]:
    """Return the pieces of a body; bytes are one piece."""
    return body.pieces if isinstance(body, Pieces) else (body,)


class DamagedBody(ValueError):
    """A binary body that cannot be read. Its message is a sentence."""


def encode_payload(
    fields: Mapping[str, JSON], images: Images | None = None, *, binary: bool = False
) -> bytes:
    """Encode a call's fields and its images (``{"image": data}``, ``{"images": [data, ...]}``).

    Images become base64 text, or raw bytes in a ``binary`` body; there, fields may hold bytes too.
    Raise ValueError if a field is NaN or infinite, or if a key is used twice.
    """
    return b"".join(encode_body(fields, images, binary=binary).pieces)


def encode_body(
    fields: Mapping[str, JSON], images: Images | None = None, *, binary: bool = False
) -> Pieces:
    """Encode as `encode_payload` does, without copying the images into one body."""
    images = images or {}
    twice = fields.keys() & images.keys()
    if twice:
        raise ValueError(f"{sorted(twice)[0]!r} is given as a field and as an image")
    if binary:
        return encode_pieces({**fields, **images})
    parts: list[bytes] = [b"{"]
    for key, value in images.items():
        parts += (json.dumps(key).encode(), b":")
        if isinstance(value, bytes):
            parts += _image(value)
        else:
            parts.append(b"[")
            for index, image in enumerate(value):
                parts += (b"," if index else b"", *_image(image))
            parts.append(b"]")
        parts.append(b",")
    # JSON has no NaN, but Python's encoder would write one.
    text = json.dumps(dict(fields), allow_nan=False, separators=(",", ":")).encode()
    if text == b"{}" and images:
        parts[-1] = b"}"
    else:
        parts.append(text[1:])
    return Pieces(*parts)


def content_type(body: Body) -> str:
    """Return the content type of a body that a function of this module encoded."""
    # The length of a binary body cannot begin with this byte: its text would have 2 GB.
    return _JSON_TYPE if bytes(pieces_of(body)[0][:1]) == b"{" else BINARY_TYPE


def decode_binary(body: bytes, *, allow_bytes: bool = True, **options: Any) -> Any:
    """Return the JSON value of a binary body, with bytes in place of references.

    ``options`` are those of ``json.loads``. Raise DamagedBody, also for a reference if bytes are
    not allowed, and ValueError if the text is not JSON.
    """
    start = _LENGTH.size + int.from_bytes(body[: _LENGTH.size], "big")
    if len(body) < start:
        raise DamagedBody("a binary body is shorter than its JSON text")

    def resolve(value: dict[str, Any]) -> Any:
        if value.keys() != {_REFERENCE}:
            return value
        if not allow_bytes:
            raise DamagedBody("only an interactor may answer bytes")
        match value[_REFERENCE]:
            case [int(offset), int(size)] if 0 <= offset <= offset + size <= len(body) - start:
                return body[start + offset : start + offset + size]
        raise DamagedBody(f"{_REFERENCE} is not [offset, size] of bytes in the body")

    return json.loads(body[_LENGTH.size : start], object_hook=resolve, **options)


def encode_pieces(fields: Mapping[str, JSON]) -> Pieces:
    """Encode fields, which may hold bytes, as a binary body in pieces. Raise ValueError."""
    parts: list[bytes | memoryview] = []
    offset = 0

    def refer(data: object) -> dict[str, list[int]]:
        nonlocal offset
        if not isinstance(data, bytes | memoryview):
            raise TypeError(f"a body cannot hold {type(data).__name__}")
        parts.append(data)
        offset += len(data)
        return {_REFERENCE: [offset - len(data), len(data)]}

    text = json.dumps(fields, allow_nan=False, separators=(",", ":"), default=refer).encode()
    return Pieces(_LENGTH.pack(len(text)) + text, *parts)


def _image(data: bytes) -> tuple[bytes, bytes, bytes]:
    return b'"', _b64encode(data), b'"'


def _fastest() -> Callable[[bytes], bytes]:
    """Return pybase64, which uses vector instructions, if installed: 200 KB in 0.01 ms, not 0.4."""
    try:
        import pybase64
    except ImportError:  # optional
        return base64.b64encode
    return pybase64.b64encode


_b64encode: Final = _fastest()
