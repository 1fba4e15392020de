"""Types of the parts of Nuclio's SDK that functions use (nuclio-sdk has no type hints)."""

from __future__ import annotations

from typing import Any, Protocol


class Event(Protocol):
    """One call. ``body`` is the parsed JSON, or bytes when the content type was not JSON."""

    body: Any
    content_type: Any


class Context(Protocol):
    """What a worker keeps between calls. ``user_data`` takes any attributes."""

    user_data: Any
    logger: Any
    Response: Any
