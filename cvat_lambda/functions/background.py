"""A background thread that refreshes the table of functions and checks failing functions.

A web process starts the thread with its first HTTP request, a worker with its task. A thread that
serves a request or runs a pipeline only reports a failure here. The background thread then uses the
database and the platform.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Final

from django.core.signals import request_started
from django.db import DatabaseError, connections

from cvat_lambda.conf import settings
from cvat_lambda.errors import FunctionUnavailable, LambdaError, PlatformUnreachable
from cvat_lambda.functions.health import RevisionChanged, note_failure, note_success
from cvat_lambda.functions.refresh import refresh
from cvat_lambda.functions.spec import FunctionSpec

logger = logging.getLogger(__name__)

_CHECK_PERIOD_S: Final = 1.0  # reports are handled at most this often
_also: Final[list[Callable[[], object]]] = []


def start(**kwargs: object) -> None:
    """Start the thread of this process. It refreshes every FUNCTIONS_REFRESH_S seconds (0: never).

    A second call changes nothing. It can be connected to a signal.
    """
    if settings.FUNCTIONS_REFRESH_S > 0 and _Refresher.running_in != os.getpid():
        _Refresher.start_once()


def start_with_the_first_http_request() -> None:
    """Start the thread with the first HTTP request of this process; other commands need none."""
    request_started.connect(start, dispatch_uid="cvat_lambda.functions.background")


def also_call(task: Callable[[], object]) -> None:
    """Call ``task`` whenever the table of functions is refreshed."""
    if task not in _also:
        _also.append(task)


def report(spec: FunctionSpec, error: LambdaError | None, *, revision: str = "") -> None:
    """Report how an invocation ended, and which revision of the function answered.

    The thread reads a function again that cannot be reached or that has another revision.
    """
    if error is None:
        if revision != spec.revision and spec.address.platform == "nuclio":
            _Refresher.add(spec, RevisionChanged())
        elif spec.state == "unhealthy" and spec.address.platform == "endpoint":
            _Refresher.add(spec, None)
    elif isinstance(error, PlatformUnreachable | FunctionUnavailable):
        _Refresher.add(spec, error)


def refresh_quietly() -> None:
    """Refresh, log what fails, and leave no database connection open in this thread."""
    try:
        for task in (refresh, *_also):
            task()
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

    running_in: int | None = None  # the process id, because a fork does not inherit the thread
    _lock: Final = threading.Lock()
    _woken: Final = threading.Event()
    _reports: Final[dict[str, tuple[FunctionSpec, LambdaError | None]]] = {}

    @classmethod
    def start_once(cls) -> None:
        with cls._lock:
            if cls.running_in != os.getpid():
                cls.running_in = os.getpid()
                cls(name="cvat-lambda-functions", daemon=True).start()

    @classmethod
    def add(cls, spec: FunctionSpec, error: LambdaError | None) -> None:
        if cls.running_in == os.getpid():
            with cls._lock:
                cls._reports[spec.id] = (spec, error)
            cls._woken.set()

    def run(self) -> None:
        pause = threading.Event()
        due_at = 0.0
        while (period_s := settings.FUNCTIONS_REFRESH_S) > 0:
            if time.monotonic() >= due_at:
                refresh_quietly()
                due_at = time.monotonic() + max(period_s, _CHECK_PERIOD_S)
            if self._woken.wait(max(0.0, due_at - time.monotonic())):
                self._woken.clear()
                self._work_off()
                pause.wait(_CHECK_PERIOD_S)
        type(self).running_in = None

    def _work_off(self) -> None:
        with self._lock:
            reports = list(self._reports.values())
            self._reports.clear()
        try:
            for spec, error in reports:
                if error is None:
                    note_success(spec)
                else:
                    note_failure(spec.id, error)
        except Exception:
            logger.exception(
                "a failing function could not be checked", extra={"action": "refresh_failed"}
            )
        finally:
            connections.close_all()
