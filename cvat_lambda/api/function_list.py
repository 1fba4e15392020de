"""The answers of ``GET /api/lambda/functions``: every function, one page of them, or a short form.

The JSON of a function in the list of all is kept until its spec changes, since an installation may
have thousands of functions and CVAT's pages ask for the list often.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final

from django.db.models import QuerySet
from django.http import HttpResponse
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from cvat_lambda.api.browser_compat import is_browser
from cvat_lambda.functions import registry
from cvat_lambda.functions.describe import describe, describe_briefly
from cvat_lambda.functions.models import Function
from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.rest.pagination import LongPages

_lock: Final = threading.Lock()
# (media type, for a browser) -> id -> the spec and its JSON
_kept: Final[dict[tuple[str, bool], dict[str, tuple[FunctionSpec, bytes]]]] = {}


def respond(request: Request, specs: Sequence[FunctionSpec]) -> HttpResponse:
    """Return the functions as a JSON array without pages."""
    page = is_browser(request)
    renderer, media_type = request.accepted_renderer, request.accepted_media_type
    if not isinstance(renderer, JSONRenderer) or ";" in media_type:  # such as indent=4
        return Response([describe(spec, to_page=page) for spec in specs])
    with _lock:
        old = _kept.get((media_type, page), {})
    new = {}
    for spec in specs:
        kept = old.get(spec.id)
        if kept is None or kept[0] is not spec:
            kept = spec, renderer.render(describe(spec, to_page=page), media_type)
        new[spec.id] = kept
    with _lock:
        _kept[media_type, page] = new
    body = b"[" + b",".join(text for _, text in new.values()) + b"]"
    return HttpResponse(body, content_type=media_type)


def respond_short(request: Request, specs: Sequence[FunctionSpec]) -> Response:
    """Return the functions with the members of ``fields=compact``, as an array without pages."""
    return Response(_members(request, specs, compact=True))


def respond_page(
    request: Request, view: APIView, rows: QuerySet[Function], *, compact: bool
) -> Response:
    """Return the page of the query, in CVAT's form. Raise NotFound."""
    pages = LongPages()
    found = pages.paginate_queryset(rows.values_list("pk", "changed_at"), request, view=view) or []
    specs = registry.specs_of(found)
    return pages.get_paginated_response(_members(request, specs, compact=compact))


def _members(
    request: Request, specs: Sequence[FunctionSpec], *, compact: bool
) -> list[dict[str, Any]]:
    show, to_page = describe_briefly if compact else describe, is_browser(request)
    return [show(spec, to_page=to_page) for spec in specs]
