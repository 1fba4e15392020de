"""Responses that are sent item by item: newline-delimited JSON, or server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import closing
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request as HttpRequest

from cvat_lambda.rest.asgi import disconnect

JSON_LINES: Final = "application/x-ndjson"
EVENT_STREAM: Final = "text/event-stream"


class StreamNegotiation(DefaultContentNegotiation):
    """Accepts clients that want a stream; errors before it begins are JSON."""

    def select_renderer(
        self, request: HttpRequest, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        try:
            chosen: tuple[BaseRenderer, str] = super().select_renderer(
                request, renderers, format_suffix
            )
            return chosen
        except NotAcceptable:
            if not {JSON_LINES, EVENT_STREAM} & set(_accepted(request)):
                raise
            return renderers[0], renderers[0].media_type


def stream(
    request: HttpRequest, items: Generator[dict[str, Any], None, None]
) -> StreamingHttpResponse:
    """Return a response that sends each item when it comes.

    The first item is computed before, so that its error is answered with its own status. If the
    client leaves, ``items`` is closed.
    """
    as_events = EVENT_STREAM in _accepted(request)
    first = next(items, None)
    lines = _lines(first, items, as_events=as_events)
    plain = request._request
    content = _in_threads(lines, plain) if isinstance(plain, ASGIRequest) else lines
    response = StreamingHttpResponse(
        content, content_type=EVENT_STREAM if as_events else JSON_LINES
    )
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"  # nginx must not collect it
    response["Content-Encoding"] = "identity"  # CVAT's GZipMiddleware must not, either
    return response


def _accepted(request: HttpRequest) -> list[str]:
    kinds = request.headers.get("Accept", "").split(",")
    return [kind.partition(";")[0].strip().lower() for kind in kinds]


def _lines(
    first: dict[str, Any] | None,
    rest: Generator[dict[str, Any], None, None],
    *,
    as_events: bool,
) -> Generator[bytes, None, None]:
    with closing(rest):
        item = first
        while item is not None:
            text = json.dumps(item, separators=(",", ":"))
            if as_events:
                event = "error" if "error" in item else "frame"
                yield f"event: {event}\ndata: {text}\n\n".encode()
            else:
                yield f"{text}\n".encode()
            item = next(rest, None)


async def _in_threads(
    lines: Generator[bytes, None, None], request: ASGIRequest
) -> AsyncIterator[bytes]:
    """Return the lines for an ASGI server, which would otherwise wait for all of them."""
    left = disconnect(request)
    try:
        while (line := await sync_to_async(_next)(lines)) is not None and not left.done():
            yield line
    finally:
        left.cancel()
        await sync_to_async(lines.close)()


def _next(lines: Iterator[bytes]) -> bytes | None:
    return next(lines, None)
