"""OpenTelemetry spans, if ``CVAT_LAMBDA_TRACES`` is set and ``opentelemetry-api`` is installed.

The app makes spans; the deployment decides where they go, by OpenTelemetry's SDK and its
environment variables (for example with ``opentelemetry-instrument``).
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

from django.http import HttpRequest

from cvat_lambda.conf import settings
from cvat_lambda.observability.context import current_request_id

try:
    from opentelemetry import context, propagate, trace
except ImportError:  # optional
    trace = None  # type: ignore[assignment]


def enabled() -> bool:
    """Return whether spans are made."""
    return trace is not None and settings.TRACES


@contextmanager
def server_span(request: HttpRequest) -> Iterator[None]:
    """Make the span of an HTTP request, below the span that the client names."""
    if not enabled():
        yield
        return
    headers = {name.lower(): value for name, value in request.headers.items()}
    token = context.attach(propagate.extract(headers))
    try:
        with _span(f"{request.method} {request.path}", trace.SpanKind.SERVER, {}):
            yield
    finally:
        context.detach(token)


@contextmanager
def invocation_span(
    function_id: str, revision: str, headers: MutableMapping[str, str]
) -> Iterator[None]:
    """Make the span of an invocation, and name it in the headers that the function gets."""
    if not enabled():
        yield
        return
    attributes = {"cvat_lambda.function": function_id, "cvat_lambda.revision": revision}
    with _span(f"invoke {function_id}", trace.SpanKind.CLIENT, attributes):
        propagate.inject(headers)
        yield


@contextmanager
def _span(name: str, kind: trace.SpanKind, attributes: dict[str, str]) -> Iterator[None]:
    tracer = trace.get_tracer("cvat_lambda")
    attributes = {**attributes, "cvat_lambda.request_id": current_request_id()}
    with tracer.start_as_current_span(name, kind=kind, attributes=attributes):
        yield
