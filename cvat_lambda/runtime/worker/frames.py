"""The wire between a processor and its worker: frames over a stream socket.

A frame is two unsigned 32-bit lengths in network order, then a msgpack map (its ``kind`` says what
it is) and then raw bytes (a body). The body stays out of the msgpack map so that an image of
megabytes is neither packed nor unpacked. Nuclio 1.14 sends one msgpack map down and JSON lines up;
both ends here are ours, so the format may be a better one.

kinds down: ``event``, ``terminate``. Kinds up: ``ready``, ``failed``, ``log``, ``answer``.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from .untyped import msgpack

HEAD: Final = struct.Struct("!II")
MAX_FRAME: Final = 2**30  # bytes; what a length field may ask us to hold in memory

Meta = dict[str, Any]


TERMINATE: Final[Meta] = {"kind": "terminate"}
_PACKED_TERMINATE: Final[bytes] = msgpack.packb(TERMINATE)


class FrameError(Exception):
    """The other side sent an invalid frame."""


def pack(meta: Meta, body_length: int = 0) -> bytes:
    """Return the head of a frame and its map; the body's bytes follow it on the wire."""
    packed: bytes = msgpack.packb(meta, use_bin_type=True, unicode_errors="surrogateescape")
    return HEAD.pack(len(packed), body_length) + packed


def unpack_meta(packed: bytes | bytearray | memoryview) -> Meta:
    """Return the map of a frame; raise UnicodeDecodeError for text that is not UTF-8."""
    meta = msgpack.unpackb(packed, raw=False, strict_map_key=False)
    if not isinstance(meta, dict):
        raise FrameError("a frame's map is no map")
    return meta


def is_terminate(packed: bytes) -> bool:
    """Whether a packed map is TERMINATE; it is not unpacked for that."""
    return packed == _PACKED_TERMINATE


def read_head(head: bytes | bytearray | memoryview) -> tuple[int, int]:
    """Return the lengths of map and body; raise FrameError when they cannot be meant."""
    meta_length, body_length = HEAD.unpack(head)
    if meta_length + body_length > MAX_FRAME:
        raise FrameError(f"a frame of {meta_length + body_length} bytes is too long")
    return meta_length, body_length
