"""The base classes of the engine's views."""

from __future__ import annotations

from typing import Any, NoReturn

from django.http import HttpRequest
from rest_framework.exceptions import MethodNotAllowed, NotFound
from rest_framework.request import Request
from rest_framework.views import APIView

from cvat_lambda.rest.views import JsonErrors

ID_PATTERN = r"[0-9]{1,9}"  # the maximum of an integer column in every database


class EngineView(JsonErrors, APIView):
    """A view of the engine's REST API."""

    def http_method_not_allowed(self, request: HttpRequest, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise MethodNotAllowed with a sentence for people who know CVAT's API."""
        method = str(request.method)
        raise MethodNotAllowed(
            method, f"The standalone server does not have the method {method} for this path."
        )


class EngineViewSet(EngineView):
    """The base of the viewsets. This server has no organizations."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Raise NotFound if the client names an organization.

        Clients name one by the parameter ``org`` (cvat-ui) or ``org_id``, or by the header
        ``X-Organization`` (``cvat-cli --org``); an empty value names none. Without this check,
        new objects would become the user's own instead of the organization's.
        """
        super().initial(request, *args, **kwargs)
        named = [request.query_params.get(name, "") for name in ("org", "org_id")]
        for name in (*named, request.headers.get("X-Organization", "")):
            if name:
                raise NotFound(f"There is no organization '{name}': this server has none.")
