"""Test pictures for calls, made without files and without an imaging library."""

from __future__ import annotations

import base64
import struct
import zlib
from functools import lru_cache
from typing import Final

WIDTH: Final = 320  # pixels
HEIGHT: Final = 240
# A bright disc on a dark gradient: a detector, a segmenter and a tracker can find it.
DISC: Final = (160, 120, 50)  # x, y, radius


MODES: Final = ("RGB", "grey", "RGBA", "palette", "16-bit grey")
_HEADS: Final = {
    "RGB": (8, 2),
    "grey": (8, 0),
    "RGBA": (8, 6),
    "palette": (8, 3),
    "16-bit grey": (16, 0),
}
_DISC_COLOUR: Final = (230, 200, 60)


@lru_cache(maxsize=16)
def picture(shift: int = 0, mode: str = "RGB") -> str:
    """Return a PNG in base64, its disc moved right by `shift` pixels."""
    return base64.b64encode(png(WIDTH, HEIGHT, shift, mode)).decode()


def disc_box(shift: int = 0) -> list[float]:
    """Return the box round the disc as [x0, y0, x1, y1]."""
    x, y, radius = DISC
    return [x + shift - radius, y - radius, x + shift + radius, y + radius]


def png(width: int, height: int, shift: int, mode: str = "RGB") -> bytes:
    """Return a picture of one of the MODES as a PNG (ISO/IEC 15948)."""
    centre_x, centre_y, radius = DISC[0] + shift, DISC[1], DISC[2]
    rows = bytearray()
    for y in range(height):
        rows.append(0)  # no filter
        for x in range(width):
            inside = (x - centre_x) ** 2 + (y - centre_y) ** 2 <= radius**2
            colour = _DISC_COLOUR if inside else (x % 64, y % 64, 40)
            rows += _pixel(mode, colour)
    depth, colour_type = _HEADS[mode]
    head = struct.pack("!IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    # Each entry of the palette is a shade of grey, except for the disc's.
    shades = bytes(value for shade in range(255) for value in (shade, shade, shade))
    palette = [_chunk(b"PLTE", shades + bytes(_DISC_COLOUR))] if mode == "palette" else []
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", head),
            *palette,
            _chunk(b"IDAT", zlib.compress(bytes(rows))),
            _chunk(b"IEND", b""),
        ]
    )


def _pixel(mode: str, colour: tuple[int, int, int]) -> bytes:
    grey = sum(colour) // 3
    if mode == "RGB":
        return bytes(colour)
    if mode == "RGBA":
        return bytes((*colour, 255))
    if mode == "palette":
        return bytes((255 if colour == _DISC_COLOUR else grey,))
    return struct.pack("!H", grey * 257) if mode == "16-bit grey" else bytes((grey,))


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", checksum)
