"""A thread of each process that keeps the table of functions fresh and follows up failed calls.

Nothing here is done by the thread that serves a request or runs a pipeline: it only leaves a note.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Final

from django.db import DatabaseError, connections

from cvat_lambda.conf import settings
from cvat_lambda.errors import FunctionUnavailable, LambdaError, PlatformUnreachable
from cvat_lambda.functions.health import note_failure, note_success
from cvat_lambda.functions.refresh import refresh
from cvat_lambda.functions.spec import FunctionSpec

logger = logging.getLogger(__name__)

_SOON_S: Final = 1.0  # notes are followed up at most so often


def refresh_in_background() -> None:
    """Start this process' thread: it refreshes every FUNCTIONS_REFRESH_S seconds (0: never)."""
    if settings.FUNCTIONS_REFRESH_S > 0 and _Refresher.running_in != os.getpid():
        _Refresher.start_once()


def report(spec: FunctionSpec, error: LambdaError | None) -> None:
    """Leave a note on how a call ended; costs nothing where there is nothing to follow up."""
    if error is None:
        if spec.state == "unhealthy" and spec.address.platform == "endpoint":
            _Refresher.leave(spec, None)
    elif isinstance(error, PlatformUnreachable | FunctionUnavailable):
        _Refresher.leave(spec, error)


def refresh_quietly() -> None:
    """Refresh, log what fails, and leave no database connection open in this thread."""
    try:
        refresh()
    except DatabaseError as exc:
        logger.warning(
            "the functions could not be stored: %s", exc, extra={"action": "refresh_failed"}
        )
    except Exception:
        logger.exception("the functions could not be refreshed", extra={"action": "refresh_failed"})
    finally:
        connections.close_all()


class _Refresher(threading.Thread):
    """A daemon thread; it ends with the process, or when the setting becomes 0."""

    running_in: int | None = None  # a process id: a fork does not inherit the thread
    _lock: Final = threading.Lock()
    _woken: Final = threading.Event()
    _notes: Final[dict[str, tuple[FunctionSpec, LambdaError | None]]] = {}

    @classmethod
    def start_once(cls) -> None:
        with cls._lock:
            if cls.running_in != os.getpid():
                cls.running_in = os.getpid()
                cls(name="cvat-lambda-functions", daemon=True).start()

    @classmethod
    def leave(cls, spec: FunctionSpec, error: LambdaError | None) -> None:
        if cls.running_in == os.getpid():
            with cls._lock:
                cls._notes[spec.id] = (spec, error)
            cls._woken.set()

    def run(self) -> None:
        pause = threading.Event()
        due_at = 0.0
        while (period_s := settings.FUNCTIONS_REFRESH_S) > 0:
            if time.monotonic() >= due_at:
                refresh_quietly()
                due_at = time.monotonic() + max(period_s, _SOON_S)
            if self._woken.wait(max(0.0, due_at - time.monotonic())):
                self._woken.clear()
                self._follow_up()
                pause.wait(_SOON_S)
        type(self).running_in = None

    def _follow_up(self) -> None:
        with self._lock:
            notes = list(self._notes.values())
            self._notes.clear()
        try:
            for spec, error in notes:
                if error is None:
                    note_success(spec)
                else:
                    note_failure(spec.id, error)
        except Exception:
            logger.exception(
                "a failed call could not be followed up", extra={"action": "refresh_failed"}
            )
        finally:
            connections.close_all()
