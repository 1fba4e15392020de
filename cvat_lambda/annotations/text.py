"""Text that a database and UTF-8 can store, and short texts of untrusted values.

JSON can hold ``"\\u0000"`` (NUL), which PostgreSQL cannot store, and ``"\\ud800"`` (half of a
surrogate pair), which no encoding can.
"""

from __future__ import annotations

import re
from typing import Final

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Tell whether a text can be stored and sent: no NUL, no half of a surrogate pair."""
    return _UNSTORABLE.search(text) is None


def brief(value: object) -> str:
    """Return an untrusted value as a short text that can be stored."""
    if value is None:
        return "none"
    text = f"'{value}'" if isinstance(value, str | int | float) else type(value).__name__
    text = _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)
    return text if len(text) <= 60 else f"{text[:56]}...'"
