"""The function's logger: that of nuclio-sdk, with records sent as frames."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any

from .channel import Sender
from .frames import NO_SLOT
from .untyped import sdk, sdk_json

_LEVELS = {"critical": "error", "fatal": "error", "error": "error", "warning": "warn"}
current_slot: ContextVar[int] = ContextVar("current_slot", default=NO_SLOT)


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
                # A record may hold any object; the SDK's encoder converts all of them to text.
                "with": self._encoder.encode(more) if more else "",
            }
            self._sender.send(frame, slot=current_slot.get())
        except Exception:
            self.handleError(record)


def make_logger(sender: Sender) -> Any:
    """Return the nuclio-sdk logger that a function's context carries."""
    logger = sdk.Logger(logging.DEBUG)
    inner = logger._logger
    inner.propagate = False
    inner.handlers[:] = [_FrameHandler(sender)]
    return logger
