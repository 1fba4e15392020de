"""The wire between a processor and its worker: frames over a stream socket.

A frame is three unsigned 32-bit numbers in network order (the length of a map, the length of a
body, the number of a slot), then a msgpack map with the ``kind`` of the frame, then raw bytes (the
body). The body is not in the msgpack map, so that an image of megabytes is neither packed nor
unpacked. Nuclio 1.14 sends one msgpack map to the worker and JSON lines back. This format differs,
because both ends are part of this runtime.

A slot is one of the events that a process can handle at the same time. An answer has the slot of
its event. A log record has the slot of the event that wrote it, or NO_SLOT.

Kinds to the worker: ``event``, ``terminate``. Kinds from it: ``ready``, ``failed``, ``log``,
``answer``.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from .untyped import msgpack

HEAD: Final = struct.Struct("!III")
NO_SLOT: Final = 2**32 - 1
MAX_FRAME: Final = 2**30  # bytes; the most that a length field may announce

Meta = dict[str, Any]


TERMINATE: Final[Meta] = {"kind": "terminate"}
_PACKED_TERMINATE: Final[bytes] = msgpack.packb(TERMINATE)


class FrameError(Exception):
    """The other side sent an invalid frame."""


def pack(meta: Meta, body_length: int = 0, slot: int = 0) -> bytes:
    """Return the head of a frame and its map; the body's bytes follow it on the wire."""
    packed: bytes = msgpack.packb(meta, use_bin_type=True, unicode_errors="surrogateescape")
    return HEAD.pack(len(packed), body_length, slot) + packed


def unpack_meta(packed: bytes | bytearray | memoryview) -> Meta:
    """Return the map of a frame; raise UnicodeDecodeError for text that is not UTF-8."""
    meta = msgpack.unpackb(packed, raw=False, strict_map_key=False)
    if not isinstance(meta, dict):
        raise FrameError("a frame's map is not a map")
    return meta


def is_terminate(packed: bytes) -> bool:
    """Return whether a packed map is TERMINATE, without unpacking it."""
    return packed == _PACKED_TERMINATE


def read_head(head: bytes | bytearray | memoryview) -> tuple[int, int, int]:
    """Return the lengths of map and body, and the slot. Raise FrameError for too large lengths."""
    meta_length, body_length, slot = HEAD.unpack(head)
    if meta_length + body_length > MAX_FRAME:
        raise FrameError(f"a frame of {meta_length + body_length} bytes is too long")
    return meta_length, body_length, slot
