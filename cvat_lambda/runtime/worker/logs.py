"""The function's logger: nuclio-sdk's own, whose records travel as frames."""

from __future__ import annotations

import logging
from typing import Any

from .channel import Sender
from .untyped import sdk, sdk_json

_LEVELS = {"critical": "error", "fatal": "error", "error": "error", "warning": "warn"}


class _FrameHandler(logging.Handler):
    """Turns each record into a ``log`` frame."""

    def __init__(self, sender: Sender) -> None:
        super().__init__()
        self.name = "default"
        self._sender = sender
        self._encoder = sdk_json.Encoder()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            name = record.levelname.lower()
            more: dict[str, Any] = getattr(record, "with", {})
            frame = {
                "kind": "log",
                "level": _LEVELS.get(name, name if name in ("info", "warn") else "debug"),
                "message": record.getMessage(),
                "at": record.created,
                # Anything may be bound to a record: the SDK's encoder gives text for all of it.
                "with": self._encoder.encode(more) if more else "",
            }
            self._sender.send(frame)
        except Exception:
            self.handleError(record)


def make_logger(sender: Sender) -> Any:
    """Return the nuclio-sdk logger that a function's context carries."""
    logger = sdk.Logger(logging.DEBUG)
    inner = logger._logger
    inner.propagate = False
    inner.handlers[:] = [_FrameHandler(sender)]
    return logger
