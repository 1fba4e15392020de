"""Middleware: a content security policy for all answers of the standalone server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse

from cvat_lambda.web.security import POLICY

UNUSED: Final = "camera=(), microphone=(), geolocation=()"


class SecurityHeaders:
    """Set ``Content-Security-Policy`` and ``Permissions-Policy``."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers.setdefault("Permissions-Policy", UNUSED)
        return response
