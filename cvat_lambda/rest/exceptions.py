"""Errors as answers: `LambdaError` by its own code, REST framework's errors in their own form.

The handler is set a viewset (`ErrorsAsJson.get_exception_handler`), so that it works inside a
CVAT server whose own handler serves all other views.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import Any

from rest_framework.response import Response
from rest_framework.views import exception_handler as rest_framework_handler
from rest_framework.views import set_rollback

from cvat_lambda import signals
from cvat_lambda.errors import LambdaError

logger = logging.getLogger(__name__)


def handle_exception(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Every exception as a JSON answer; traces and addresses go to the log only."""
    if isinstance(exc, LambdaError):
        set_rollback()
        return Response(exc.to_json(), status=exc.status_code)
    answer = rest_framework_handler(exc, context)
    return answer if answer is not None else _internal_error(exc, context)


def _internal_error(exc: Exception, context: dict[str, Any]) -> Response:
    set_rollback()
    reference = secrets.token_hex(4)
    request = context.get("request")
    logger.error(
        "unexpected error %s in %s %s",
        reference,
        getattr(request, "method", "?"),
        getattr(request, "path", "?"),
        exc_info=exc,
        extra={"action": "internal_error", "reference": reference},
    )
    signals.view_failed.send_robust(sender=handle_exception, error=exc, context=context)
    return Response(
        {
            "code": "internal_error",
            "message": "Something went wrong on the server."
            f" Its log tells more under the reference {reference}.",
            "reference": reference,
        },
        status=500,
    )


class ErrorsAsJson:
    """Mixin of API views whose errors `handle_exception` answers."""

    def get_exception_handler(self) -> Callable[..., Response | None]:
        """REST framework asks each view for its handler."""
        return handle_exception
