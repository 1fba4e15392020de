"""Text that a database and UTF-8 take, and text out of untrusted values for sentences.

JSON can say ``"\\u0000"`` and ``"\\ud800"``: NUL, which PostgreSQL does not take, and half of a
surrogate pair, which no encoding does.
"""

from __future__ import annotations

import re
from typing import Final

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Tell whether a text can be stored and sent: no NUL, no half of a surrogate pair."""
    return _UNSTORABLE.search(text) is None


def brief(value: object) -> str:
    """Show an untrusted value short enough for a sentence, and so that it can be stored."""
    if value is None:
        return "none"
    text = f"'{value}'" if isinstance(value, str | int | float) else type(value).__name__
    text = _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)
    return text if len(text) <= 60 else f"{text[:56]}...'"
