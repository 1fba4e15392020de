"""Pictures to try a function with, made here: no file, no imaging library."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Final

WIDTH: Final = 320  # pixels
HEIGHT: Final = 240
# A bright disc on a dark gradient: something that an object detector, a segmenter and a tracker
# can all get hold of.
DISC: Final = (160, 120, 50)  # x, y, radius


def picture(shift: int = 0) -> str:
    """Return a PNG in base64, its disc moved right by `shift` pixels."""
    return base64.b64encode(png(WIDTH, HEIGHT, shift)).decode()


def disc_box(shift: int = 0) -> list[float]:
    """Return the box round the disc as [x0, y0, x1, y1]."""
    x, y, radius = DISC
    return [x + shift - radius, y - radius, x + shift + radius, y + radius]


def png(width: int, height: int, shift: int) -> bytes:
    """Return an RGB picture as a PNG (ISO/IEC 15948)."""
    centre_x, centre_y, radius = DISC[0] + shift, DISC[1], DISC[2]
    rows = bytearray()
    for y in range(height):
        rows.append(0)  # no filter
        for x in range(width):
            inside = (x - centre_x) ** 2 + (y - centre_y) ** 2 <= radius**2
            rows += bytes((230, 200, 60)) if inside else bytes((x % 64, y % 64, 40))
    head = struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", head),
            _chunk(b"IDAT", zlib.compress(bytes(rows))),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", checksum)
