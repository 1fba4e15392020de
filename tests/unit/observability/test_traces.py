"""OpenTelemetry spans of HTTP requests and invocations."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pytest_django import Settings

from cvat_lambda.observability.middleware import RequestContext
from cvat_lambda.observability.traces import invocation_span

_exporter = InMemorySpanExporter()


@pytest.fixture
def spans(settings: Settings) -> Iterator[InMemorySpanExporter]:
    """Export the spans of the process to memory. OpenTelemetry has one provider per process."""
    settings.CVAT_LAMBDA_TRACES = True
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(_exporter))
        trace.set_tracer_provider(provider)
    _exporter.clear()
    yield _exporter
    _exporter.clear()


def call_function(headers: dict[str, str]) -> RequestContext:
    def view(request: HttpRequest) -> HttpResponse:
        with invocation_span("yolo", "r1", headers):
            return HttpResponse("ok")

    return RequestContext(view)


def test_trace_has_the_spans_of_client_request_and_function(
    spans: InMemorySpanExporter,
) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    request = RequestFactory().get("/api/lambda/functions", headers={"traceparent": parent})
    headers: dict[str, str] = {}
    call_function(headers)(request)
    invocation, server = spans.get_finished_spans()
    assert (invocation.name, server.name) == ("invoke yolo", "GET /api/lambda/functions")
    assert invocation.attributes is not None
    assert invocation.attributes["cvat_lambda.function"] == "yolo"
    assert invocation.parent is not None
    server_span, span = server.get_span_context(), invocation.get_span_context()
    assert server_span is not None
    assert span is not None
    assert invocation.parent.span_id == server_span.span_id
    assert headers["traceparent"] == (f"00-0af7651916cd43dd8448eb211c80319c-{span.span_id:016x}-01")


def test_no_span_is_created_unless_the_setting_enables_it(
    spans: InMemorySpanExporter, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_TRACES = False
    headers: dict[str, str] = {}
    call_function(headers)(RequestFactory().get("/"))
    assert spans.get_finished_spans() == ()
    assert headers == {}
