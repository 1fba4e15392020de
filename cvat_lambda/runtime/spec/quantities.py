"""Go durations (``1m30s``) and Kubernetes quantities (``4Gi``), as function.yaml writes them."""

from __future__ import annotations

import re
from typing import Final

MAX_DURATION_S: Final = 2**63 / 1e9  # Go counts nanoseconds in 64 bits
_DURATION_UNITS_S: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_DURATION_PART: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_QUANTITY: Final = re.compile(r"^(\d+(?:\.\d+)?)(Ki|Mi|Gi|Ti|k|K|M|G|T)?$")
_QUANTITY_FACTORS: Final = {
    "": 1,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "k": 10**3,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
}


def parse_duration(text: str) -> float:
    """Return the seconds that a Go duration stands for; raise ValueError for anything else.

    The grammar is that of Go's ``time.ParseDuration``: a sequence of decimal numbers, each with a
    unit; a bare ``0`` is the only number without one.
    """
    body = text[1:] if text[:1] in ("+", "-") else text
    sign = -1.0 if text.startswith("-") else 1.0
    if body == "0":
        return 0.0
    position, total = 0, 0.0
    while position < len(body):
        part = _DURATION_PART.match(body, position)
        if part is None:
            break
        total += float(part[1]) * _DURATION_UNITS_S[part[2]]
        position = part.end()
    if not body or position != len(body):
        raise ValueError(f"{text!r} is not a duration: write it like 30s, 1m30s or 500ms")
    if total > MAX_DURATION_S:
        raise ValueError(f"{text!r} is longer than a duration can be")
    return sign * total


def parse_quantity(text: str) -> int:
    """Return the bytes of a Kubernetes memory quantity; raise ValueError for anything else."""
    found = _QUANTITY.match(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not an amount of memory: write it like 512Mi or 4Gi")
    amount = float(found[1]) * _QUANTITY_FACTORS[found[2] or ""]
    if amount >= 2**63:
        raise ValueError(f"{text!r} is more memory than there can be")
    return int(amount)


def format_bytes(amount: int) -> str:
    """Return an amount of bytes for people, such as ``7.2 MiB``."""
    value = float(amount)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{amount} bytes" if unit == "bytes" else f"{value:.1f} {unit}"
