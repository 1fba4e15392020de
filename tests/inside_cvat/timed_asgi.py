"""CVAT's ASGI application, which states the time that a call takes in this app's view.

The web server of ``script/test-cvat bench`` runs it. The header `TIMES_HEADER` of an answer holds
two numbers, in milliseconds: the time from the beginning of the view to its answer, and the
processor time of its thread meanwhile. CVAT's middleware, its authentication and its query for the
user's groups, and the questions to the policy server, are not in them.

The application has two more views, which do nothing (`EMPTY_VIEWS`). Their time is what CVAT adds
to any request to its API.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final

TIMES_HEADER: Final = "X-View-Milliseconds"
# A request with this header repeats all questions to the policy server.
ASK_HEADER: Final = "X-Ask-Again"

# The paths of views that authenticate the user and answer an empty object. The value says how many
# questions to the policy server each asks, over the connections that this app keeps.
EMPTY_VIEWS: Final[Mapping[str, int]] = {"api/bench/no-question": 0, "api/bench/one-question": 1}


def application() -> Any:
    """Return the application. uvicorn calls this, because of ``--factory``."""
    from cvat.asgi import application as of_cvat

    from cvat_lambda.api.functions import FunctionViewSet
    from cvat_lambda.engine.cvat import policy

    count_questions()
    add_empty_views()
    FunctionViewSet.call = _timed(FunctionViewSet.call)  # type: ignore[method-assign]

    async def asking_again(scope: Any, receive: Any, send: Any) -> None:
        if any(name == ASK_HEADER.lower().encode() for name, _ in scope.get("headers", ())):
            policy.allowed_questions.clear()
        await of_cvat(scope, receive, send)

    return asking_again


def add_empty_views() -> None:
    """Add the views of `EMPTY_VIEWS` to the URLs of the server."""
    from cvat.apps.iam.permissions import PermissionResult
    from django.urls import path
    from rest_framework.permissions import IsAuthenticated
    from rest_framework.response import Response

    from cvat_lambda.api.base import LambdaViewSet
    from cvat_lambda.engine.cvat import policy
    from cvat_lambda.integration.cvat import permissions, urls

    class Question(permissions.LambdaPermission):
        """Asks the policy server each time."""

        def check_access(self) -> Any:
            return PermissionResult(allow=policy.allows(self))

    class OneQuestion(LambdaViewSet):
        """Asks what CVAT asks before a call. The policy server's answer decides."""

        iam_permission_class = Question

        def call(self, request: Any) -> Response:
            return Response({})

    class NoQuestion(OneQuestion):
        """Authenticates only."""

        permission_classes = (IsAuthenticated,)

    views: tuple[Any, ...] = (NoQuestion, OneQuestion)
    for where, view in zip(EMPTY_VIEWS, views, strict=True):
        shown = view.as_view({"post": "call"}, basename="lambda_function", detail=False)
        urls.urlpatterns.insert(0, path(where, shown))


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
        _, request = arguments
        request.iam_context.get("privilege")  # CVAT reads the user's groups when it is needed first
        begun_s = time.perf_counter() - asked.wall_s
        processor_s = time.thread_time() - asked.processor_s
        response = view(*arguments, **named)
        took_ms = 1000 * (time.perf_counter() - asked.wall_s - begun_s)
        processor_ms = 1000 * (time.thread_time() - asked.processor_s - processor_s)
        response[TIMES_HEADER] = f"{took_ms:.3f} {processor_ms:.3f}"
        return response

    return call
