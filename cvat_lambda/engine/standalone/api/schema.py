"""Additions to the OpenAPI document, and the view that serves it."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiYamlRenderer
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request


def query(name: str, kind: Any = OpenApiTypes.STR, **more: Any) -> OpenApiParameter:
    """Return a parameter of the query string."""
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, **more)


_ERROR = OpenApiResponse(OpenApiTypes.OBJECT, description="what is wrong, as a sentence")

INVALID = {400: _ERROR}
ANONYMOUS = {401: _ERROR}
FORBIDDEN = {403: _ERROR}
MISSING = {404: _ERROR}
CONFLICT = {409: _ERROR}
MEDIA_TYPE = {415: _ERROR}
UNREADABLE = {422: _ERROR, 503: _ERROR}
READ_ERRORS = {**ANONYMOUS, **FORBIDDEN, **MISSING}
LIST_ERRORS = {**INVALID, **READ_ERRORS}  # 404: a page that does not exist
WRITE_ERRORS = {**INVALID, **READ_ERRORS, **CONFLICT, **MEDIA_TYPE}

# Annotations are checked by `cvat_lambda.annotations.serialize`, not by a serializer.
ANNOTATIONS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "version": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "object"}},
        "shapes": {"type": "array", "items": {"type": "object"}},
        "tracks": {"type": "array", "items": {"type": "object"}},
    },
}

FRAME_PARAMETERS = [
    query("type", enum=["frame", "chunk", "preview"], required=True),
    query("number", OpenApiTypes.INT),
    query("quality", enum=["original", "compressed"]),
]
ACTION = query("action", enum=["create", "update", "delete"], required=True)


class SchemaView(SpectacularAPIView):
    """The OpenAPI document, in YAML or JSON.

    Generating it takes some tenths of a second, so each process generates it once.
    """

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        """Return the document, or 304 if the client has it."""
        renderer = request.accepted_renderer
        text, etag = document(renderer.format)
        kind = f"{renderer.media_type}; charset=utf-8"
        answer = HttpResponse(text, content_type=kind, headers={"ETag": etag})
        answer["Cache-Control"] = "no-cache"  # clients may cache it and must revalidate it
        answer["Content-Disposition"] = f'inline; filename="cvat_lambda.{renderer.format}"'
        django_request: HttpRequest = request._request
        found = get_conditional_response(django_request, etag=etag, response=answer)
        assert isinstance(found, HttpResponse)
        return found


_RENDERERS: dict[str, Any] = {
    renderer.format: renderer for renderer in (OpenApiYamlRenderer, OpenApiJsonRenderer)
}


@cache
def document(form: str) -> tuple[bytes, str]:
    """Return the text of the document, ``yaml`` or ``json``, and its ETag."""
    generator: Any = SchemaGenerator
    made = generator().get_schema(request=None, public=True)
    text: str | bytes = _RENDERERS[form]().render(made, renderer_context={})
    text = text.encode() if isinstance(text, str) else text
    return text, f'"{hashlib.sha256(text).hexdigest()[:32]}"'
