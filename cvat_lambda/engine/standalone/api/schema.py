"""What the OpenAPI document says beyond what it finds by itself."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse


def query(name: str, kind: Any = OpenApiTypes.STR, **more: Any) -> OpenApiParameter:
    """A parameter of a query string."""
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
LIST_ERRORS = {**INVALID, **READ_ERRORS}  # 404: a page that is not there
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
