"""The Django middleware that gives each HTTP request its context and its span."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from cvat_lambda.observability import traces
from cvat_lambda.observability.context import request_context, request_id_of

HEADER = "X-Request-Id"


class RequestContext:
    """Names each HTTP request by an id, which log lines, functions and the response repeat."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request_id = request_id_of(request)
        with request_context(request_id, request), traces.server_span(request):
            response = self._get_response(request)
        if not response.has_header(HEADER):
            response[HEADER] = request_id
        return response
