"""The little that a function needs of Nuclio's SDK, as types (nuclio-sdk ships none)."""

from __future__ import annotations

from typing import Any, Protocol


class Event(Protocol):
    """One call: ``body`` is the parsed JSON, or raw bytes when its type was not exactly JSON."""

    body: Any


class Context(Protocol):
    """What a worker keeps between calls: ``user_data`` is a bag of attributes."""

    user_data: Any
    logger: Any
    Response: Any
