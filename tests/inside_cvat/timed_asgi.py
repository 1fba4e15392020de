"""CVAT's ASGI application, which states the time that a call takes in this app's view.

The web server of ``script/test-cvat bench`` runs it. The header `TIMES_HEADER` of an answer holds
two numbers, in milliseconds: the time from the beginning of the view to its answer, and the
processor time of its thread meanwhile. CVAT's middleware, authentication and permission are not in
them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Any

TIMES_HEADER = "X-View-Milliseconds"


def application() -> Any:
    """Return the application. uvicorn calls this, because of ``--factory``."""
    from cvat.asgi import application as of_cvat

    from cvat_lambda.api.functions import FunctionViewSet

    FunctionViewSet.call = _timed(FunctionViewSet.call)  # type: ignore[method-assign]
    return of_cvat


def _timed(view: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(view)
    def call(*arguments: Any, **named: Any) -> Any:
        begun_s, processor_s = time.perf_counter(), time.thread_time()
        response = view(*arguments, **named)
        took_ms = 1000 * (time.perf_counter() - begun_s)
        processor_ms = 1000 * (time.thread_time() - processor_s)
        response[TIMES_HEADER] = f"{took_ms:.3f} {processor_ms:.3f}"
        return response

    return call
