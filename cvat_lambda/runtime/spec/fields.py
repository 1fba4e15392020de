"""Strict readers for fields of a document; their errors name the field."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

JsonObject = dict[str, Any]
MAX_VALUES: Final = 100_000  # of one document; each use of an alias counts
MAX_DEPTH: Final = 100
MAX_NUMBER: Final = 2**64
_WHOLE: Final = re.compile(r"^\s*-?[0-9]{1,15}(\.0*)?\s*$")  # floats hold 15 digits


def to_json(value: object) -> Any:
    """Return a YAML value as JSON.

    Keys become text, and so do dates and other scalars. Raise ValueError for what JSON cannot
    hold: not a number, infinity, a document without an end.
    """
    return _Plain().of(value, 0)


class _Plain:
    def __init__(self) -> None:
        self._left = MAX_VALUES

    def of(self, value: object, depth: int) -> Any:
        self._left -= 1
        if self._left < 0 or depth > MAX_DEPTH:
            raise ValueError("the document is too large, nested too deeply, or refers to itself")
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, int):
            if abs(value) > MAX_NUMBER:
                raise ValueError("the document holds a number that is too large")
            return int(value)
        if isinstance(value, Mapping):
            return {str(key): self.of(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple, set)):
            return [self.of(item, depth + 1) for item in value]
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{value} is not a number that JSON can hold")
        return value if isinstance(value, float) else str(value)


def mapping(value: object, where: str) -> JsonObject:
    """Return a mapping, an empty one for None; raise ValueError."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be a mapping")
    return value


def text(value: object, where: str) -> str:
    """Return a text, an empty one for None; raise ValueError."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{where} must be text")
    return value


def whole(value: object, where: str, *, least: int, most: int) -> int:
    """Return a whole number, which may be written as text; raise ValueError."""
    if isinstance(value, bool) or not _WHOLE.match(str(value)):
        raise ValueError(f"{where} is {value!r}: it must be a whole number")
    number = int(float(str(value)))
    if not least <= number <= most:
        raise ValueError(f"{where} is {number}: it must be {least} to {most}")
    return number


def seconds(value: object, where: str, *, most: float) -> float:
    """Return a time in seconds, more than 0, which may be written as text; raise ValueError."""
    try:
        number = float(value) if isinstance(value, (int, float, str)) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not 0 < number <= most:
        raise ValueError(f"{where} is {value!r}: it must be a number of seconds, up to {most:g}")
    return number


def flag(value: object, where: str) -> bool:
    """Return true or false, which may be written as text; raise ValueError."""
    if value is None or isinstance(value, bool):
        return bool(value)
    known = {"true": True, "false": False}.get(str(value).lower())
    if known is None:
        raise ValueError(f"{where} is {value!r}: it must be true or false")
    return known
