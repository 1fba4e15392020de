"""Pages of the standalone server for errors that no view of a page handled."""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from cvat_lambda.web.pages import error_page

_FORM: Final = "Your session has changed. Open the page again, then send the form again."


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a path that does not exist."""
    return error_page(request, 404, "There is nothing at this address.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer what the user may not do."""
    return error_page(request, 403, "You may not do this.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form without a valid CSRF token."""
    return error_page(request, 403, _FORM)


def server_error(request: HttpRequest, *args: Any) -> HttpResponse:
    """Answer an unexpected error. The page needs neither the database nor the session."""
    return HttpResponse(render_to_string("cvat_lambda/500.html"), status=500)
