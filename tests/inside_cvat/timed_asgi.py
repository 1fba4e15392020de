"""CVAT's ASGI application, which states the time that a call takes in this app's view.

The web server of ``script/test-cvat bench`` runs it. The header `TIMES_HEADER` of an answer holds
two numbers, in milliseconds: the time from the beginning of the view to its answer, and the
processor time of its thread meanwhile. CVAT's middleware and authentication, and the questions to
the policy server, are not in them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

TIMES_HEADER = "X-View-Milliseconds"


def application() -> Any:
    """Return the application. uvicorn calls this, because of ``--factory``."""
    from cvat.asgi import application as of_cvat

    from cvat_lambda.api.functions import FunctionViewSet

    count_questions()
    FunctionViewSet.call = _timed(FunctionViewSet.call)  # type: ignore[method-assign]
    return of_cvat


class Asked(threading.local):
    """The seconds that the thread spent on questions to the policy server."""

    wall_s = 0.0
    processor_s = 0.0


asked = Asked()


def count_questions() -> None:
    """Add the time of all questions of this app to the policy server to `asked`."""
    from cvat_lambda.engine.cvat import policy

    policy.allows = _counted(policy.allows)
    policy.allowed_rows = _counted(policy.allowed_rows)


def _counted(ask: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(ask)
    def allows(*arguments: Any, **named: Any) -> Any:
        begun_s, processor_s = time.perf_counter(), time.thread_time()
        try:
            return ask(*arguments, **named)
        finally:
            asked.wall_s += time.perf_counter() - begun_s
            asked.processor_s += time.thread_time() - processor_s

    return allows


def _timed(view: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(view)
    def call(*arguments: Any, **named: Any) -> Any:
        begun_s = time.perf_counter() - asked.wall_s
        processor_s = time.thread_time() - asked.processor_s
        response = view(*arguments, **named)
        took_ms = 1000 * (time.perf_counter() - asked.wall_s - begun_s)
        processor_ms = 1000 * (time.thread_time() - asked.processor_s - processor_s)
        response[TIMES_HEADER] = f"{took_ms:.3f} {processor_ms:.3f}"
        return response

    return call
