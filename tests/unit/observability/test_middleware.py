"""The request id: from the client to the log and back."""

from __future__ import annotations

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from cvat_lambda.observability.context import current_request_id
from cvat_lambda.observability.middleware import RequestContext


def answer(request: HttpRequest) -> HttpResponse:
    return HttpResponse(current_request_id())


def test_request_id_of_the_client_is_used_and_sent_back() -> None:
    request = RequestFactory().get("/", headers={"X-Request-Id": "client-7"})
    response = RequestContext(answer)(request)
    assert isinstance(response, HttpResponse)
    assert response.content == b"client-7"
    assert response["X-Request-Id"] == "client-7"
    assert current_request_id() == ""


def test_request_id_that_cvat_made_has_precedence() -> None:
    request = RequestFactory().get("/", headers={"X-Request-Id": "client-7"})
    request.uuid = "0f6c"  # type: ignore[attr-defined]
    assert RequestContext(answer)(request)["X-Request-Id"] == "0f6c"


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "a\tb", '"'])
def test_request_id_that_is_not_usable_is_replaced(sent: str) -> None:
    request = RequestFactory().get("/", headers={"X-Request-Id": sent} if sent else {})
    made = RequestContext(answer)(request)["X-Request-Id"]
    assert made != sent
    assert len(made) == 32
