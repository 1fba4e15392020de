"""The event stream that wakes the agents of a native function, in each kind of web server.

* The standalone server keeps a stream open without a thread (`STREAMS` in the WSGI environment,
  which `cvat_lambda.server.streams` sets).
* An ASGI server, as CVAT's, keeps it open as a coroutine.
* Other WSGI servers would need a thread or a process for each stream. There the answer is short and
  says when to come back; agents poll whenever a stream ends.

Each process has one subscription for all of its streams (`cvat_lambda.agents.wakeups`).
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from functools import partial
from typing import Any, Final

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request as HttpRequest

from cvat_lambda.agents import streams
from cvat_lambda.conf import settings
from cvat_lambda.rest.asgi import disconnect

STREAMS: Final = "cvat_lambda.event_streams"
CONTENT_TYPE: Final = "text/event-stream"
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    # Otherwise CVAT's GZipMiddleware compresses each event, which cvat-cli does not read as lines.
    "Content-Encoding": "identity",
    "X-Accel-Buffering": "no",  # nginx, Traefik: pass each event on at once
}


def stream_events(request: HttpRequest, native_pk: int) -> HttpResponseBase:
    """Return the response that streams the events of a function's queue."""
    django_request: Any = request._request
    opened = django_request.META.get(STREAMS)
    is_possible = streams.is_possible()
    if hasattr(django_request, "scope"):
        if is_possible:
            left = partial(disconnect, django_request)
            return _response(streams.events(native_pk, left))
        return _response(streams.polling(settings.AGENT_POLL_S))
    if is_possible and opened is not None:
        opened.native_pk = native_pk
        return _response([streams.opening()])
    return _response([streams.retry_line(settings.AGENT_POLL_S)])


def _response(content: Iterable[bytes] | AsyncIterable[bytes]) -> StreamingHttpResponse:
    # Streaming, so that no middleware adds a length.
    return StreamingHttpResponse(content, content_type=CONTENT_TYPE, headers=_HEADERS)
