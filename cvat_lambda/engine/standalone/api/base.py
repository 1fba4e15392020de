"""What all views of the host share."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from django.db.models import QuerySet
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView, set_rollback
from rest_framework.views import exception_handler as rest_framework_handler

from cvat_lambda.annotations.errors import AnnotationError
from cvat_lambda.errors import LambdaError
from cvat_lambda.rest.parsers import require_length

logger = logging.getLogger(__name__)

MAX_ID = 2**31 - 1
ID_PATTERN = r"[0-9]{1,9}"  # what every database takes as an integer


def handle_exception(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Every error as JSON with a sentence; traces go to the log only."""
    if isinstance(exc, LambdaError):
        set_rollback()
        return Response(exc.to_json(), status=exc.status_code)
    if isinstance(exc, AnnotationError):
        set_rollback()
        return Response({"code": "invalid_annotations", "message": exc.message}, status=400)
    answer = rest_framework_handler(exc, context)
    if answer is not None:
        return answer
    set_rollback()
    reference = secrets.token_hex(4)
    logger.error("unexpected error %s", reference, exc_info=exc, extra={"action": "internal_error"})
    message = f"Something went wrong on the server; its log tells more under {reference}."
    return Response({"code": "internal_error", "message": message}, status=500)


class EngineView(APIView):
    """What the host's views share: errors as JSON, and no body is taken for half of it."""

    def get_exception_handler(self) -> Callable[..., Response | None]:
        """REST framework asks each view for its handler."""
        return handle_exception

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Raise LengthRequired on a body that would not be read."""
        super().initial(request, *args, **kwargs)
        require_length(request)


class EngineViewSet(EngineView):
    """What the viewsets share: all that they show is personal, nothing an organization's."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Raise NotFound for an organization, of which there is none.

        Clients name one by ``org`` (cvat-ui), ``org_id`` or the header (cvat-cli ``--org``), and
        none where it is empty. What they then make must not end up among the user's own.
        """
        super().initial(request, *args, **kwargs)
        named = [request.query_params.get(name, "") for name in ("org", "org_id")]
        for name in (*named, request.headers.get("X-Organization", "")):
            if name:
                raise NotFound(f"There is no organization '{name}': this server has none.")


def whole_number(text: str, most: int) -> int | None:
    """Read digits as a number up to ``most``; None for anything else.

    Clients may send thousands of digits, of which ``int`` raises.
    """
    if not (text.isascii() and text.isdecimal()):
        return None
    digits = text.lstrip("0") or "0"
    if len(digits) > len(str(most)) or int(digits) > most:
        return None
    return int(digits)


def query_ids(parameters: Mapping[str, str], names: Mapping[str, str]) -> dict[str, int]:
    """Filters out of a query string: parameter names to fields, values that are ids.

    Raise ValidationError, by parameter, on what is no id. An empty value is no filter.
    """
    found: dict[str, int] = {}
    for name, field in names.items():
        text = parameters.get(name, "")
        if not text:
            continue
        number = whole_number(text, MAX_ID)
        if number is None:
            raise ValidationError({name: ["A valid integer is required."]})
        found[field] = number
    return found


def query_texts(
    queryset: QuerySet[Any], parameters: Mapping[str, str], names: Mapping[str, str]
) -> QuerySet[Any]:
    """The queryset filtered by text parameters; a NUL in one finds nothing."""
    for name, field in names.items():
        text = parameters.get(name, "")
        if "\x00" in text:
            return queryset.none()
        if text:
            queryset = queryset.filter(**{field: text})
    return queryset
