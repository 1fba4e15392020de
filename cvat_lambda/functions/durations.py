"""Read and write durations in Go's format (``1m30s``), as Nuclio writes time limits."""

from __future__ import annotations

import math
import re
from typing import Final

_UNITS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_PART: Final = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_LONGEST_S: Final = (1 << 63) / 1e9  # Go stores nanoseconds in 64 bits


def parse_duration(text: str) -> float:
    """Parse a Go duration such as ``1h15m30.5s`` or ``0`` into seconds, the sign included.

    Raise ValueError. Format: the documentation of Go's ``time.ParseDuration``.
    """
    sign, rest = (-1.0, text[1:]) if text[:1] == "-" else (1.0, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    total, position = 0.0, 0
    while position < len(rest):
        part = _PART.match(rest, position)
        if part is None:
            break
        total += float(part[1]) * _UNITS[part[2]]
        position = part.end()
    if not rest or position < len(rest) or total >= _LONGEST_S:
        raise ValueError(f"{text!r} is not a duration such as 30s or 1m30s")
    return sign * total


def format_duration(seconds: float) -> str:
    """Return a time limit in whole seconds (``90s``), rounded up, at least ``1s``."""
    return f"{max(1, math.ceil(seconds))}s"
