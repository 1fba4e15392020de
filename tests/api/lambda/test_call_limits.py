"""Limits on the calls in progress, and the `Retry-After` header of a refused call."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import RequestFactory
from pytest_django import Settings

from cvat_lambda.api.call_limits import CallLimits, call_limits
from cvat_lambda.errors import FunctionBusy, LambdaError, ServerBusy, TooManyCalls
from cvat_lambda.rest.views import handle_exception
from cvat_lambda.server.request_limits import RequestLimits


@pytest.mark.parametrize(
    ("setting", "held", "error"),
    [
        ("MAX_CALLS_PER_USER", [(1, "a"), (1, "b")], TooManyCalls),
        ("MAX_CALLS_PER_FUNCTION", [(2, "c"), (3, "c")], FunctionBusy),
        ("MAX_CALLS", [(2, "a"), (3, "b")], ServerBusy),
    ],
)
def test_a_call_over_a_limit_is_refused_until_another_has_ended(
    settings: Settings, setting: str, held: list[tuple[int, str]], error: type[LambdaError]
) -> None:
    for name in ("MAX_CALLS_PER_USER", "MAX_CALLS_PER_FUNCTION", "MAX_CALLS"):
        setattr(settings, f"CVAT_LAMBDA_{name}", 2 if name == setting else 0)
    limits = CallLimits()
    with limits.hold(*held[0]):
        with limits.hold(*held[1]), pytest.raises(error) as refused, limits.hold(1, "c"):
            pass
        with limits.hold(1, "c"):
            pass
    answer = handle_exception(refused.value, {})
    assert answer is not None
    assert answer.headers["Retry-After"] == ("1" if error is TooManyCalls else "2")
    assert answer.status_code == (429 if error is TooManyCalls else 503)


def test_a_call_of_a_busy_function_is_refused_before_the_view_runs(
    settings: Settings, rf: RequestFactory
) -> None:
    settings.CVAT_LAMBDA_MAX_CALLS_PER_FUNCTION = 1
    limited = RequestLimits(lambda request: HttpResponse("done"))
    with call_limits.hold(1, "busy"):
        answer = limited(rf.post("/api/lambda/functions/busy"))
        assert (answer.status_code, json.loads(answer.content)["code"]) == (503, "function_busy")
        assert limited(rf.post("/api/lambda/functions/other")).status_code == 200
    assert limited(rf.post("/api/lambda/functions/busy")).status_code == 200


def test_second_request_of_a_client_at_its_limit_answers_429(
    settings: Settings, rf: RequestFactory
) -> None:
    settings.CVAT_LAMBDA_STANDALONE_MAX_REQUESTS_PER_CLIENT = 1
    entered, leave = threading.Event(), threading.Event()

    def slow(request: Any) -> HttpResponse:
        entered.set()
        assert leave.wait(180)
        return HttpResponse("done")

    limited = RequestLimits(slow)
    alice: dict[str, Any] = {"HTTP_AUTHORIZATION": "Token alice"}
    answers: list[HttpResponse] = []
    first = threading.Thread(target=lambda: answers.append(limited(rf.get("/tasks/1", **alice))))
    first.start()
    assert entered.wait(180)
    refused = limited(rf.get("/tasks/1", **alice))
    assert (refused.status_code, refused["Retry-After"]) == (429, "1")
    leave.set()
    first.join(180)
    assert [answer.content for answer in answers] == [b"done"]
    assert limited(rf.get("/tasks/1", **alice)).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/static/style.css"])
def test_health_and_static_files_have_no_limit(
    settings: Settings, rf: RequestFactory, path: str
) -> None:
    settings.CVAT_LAMBDA_STANDALONE_MAX_REQUESTS_PER_CLIENT = 0
    view: Callable[[Any], HttpResponse] = lambda request: HttpResponse("ok")  # noqa: E731
    assert RequestLimits(view)(rf.get(path)).status_code == 200
    assert RequestLimits(view)(rf.get("/tasks/1")).status_code == 429
