"""Shorten the text of a function or platform for people, without addresses and paths."""

from __future__ import annotations

import re
from typing import Final

_SHOWN: Final = 300  # characters of a function's own message that people see
_ADDRESS: Final = re.compile(
    r"""[a-z][a-z0-9+.-]*://[^\s'"]+            # a URL
    |   \b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b    # an IPv4 address, with or without a port
    |   \[[0-9a-f:.]*:[0-9a-f:.]*\](?::\d+)?    # an IPv6 address in brackets
    |   \b[\w.-]+\.[\w.-]+:\d{2,5}\b            # a host name with a port
    |   \b(?:localhost|host):\d{2,5}\b
    |   (?<![\w.])/(?:[\w.+-]+/)+[\w.+-]*       # a path of at least two parts
    """,
    re.I | re.X,
)


def clean_line(text: str) -> str:
    """Return the first line of a function's text, short, without addresses and paths."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    line = "".join(char for char in _ADDRESS.sub("…", line[: 4 * _SHOWN]) if char.isprintable())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
