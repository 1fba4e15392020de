"""What the views of both APIs share: error answers, and the refusal of bodies without a length.

The views set their exception handler themselves. Inside a CVAT server, CVAT's own handler serves
all other views.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView, set_rollback
from rest_framework.views import exception_handler as rest_framework_handler

from cvat_lambda import signals
from cvat_lambda.annotations.errors import AnnotationError
from cvat_lambda.errors import DiskFull, LambdaError, is_disk_full
from cvat_lambda.rest.parsers import require_length

if TYPE_CHECKING:
    View = APIView
else:
    View = object

logger = logging.getLogger(__name__)


def handle_exception(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Answer an exception as JSON. Tracebacks and addresses are written to the log only."""
    if isinstance(exc, LambdaError):
        set_rollback()
        headers = {} if exc.retry_after_s is None else {"Retry-After": str(exc.retry_after_s)}
        return Response(exc.to_json(), status=exc.status_code, headers=headers)
    if isinstance(exc, SuspiciousOperation):
        set_rollback()
        return _suspicious(exc)
    if isinstance(exc, AnnotationError):
        set_rollback()
        return Response({"code": "invalid_annotations", "message": exc.message}, status=400)
    if is_disk_full(exc):
        set_rollback()
        logger.error("the disk is full", exc_info=exc, extra={"action": "disk_full"})
        return Response(DiskFull().to_json(), status=DiskFull.status_code)
    answer = rest_framework_handler(exc, context)
    return answer if answer is not None else _internal_error(exc, context)


def _suspicious(exc: SuspiciousOperation) -> Response:
    """Answer a request that Django refuses to read: too large, or malformed."""
    if isinstance(exc, RequestDataTooBig):
        message = "The body is larger than this server accepts."
        return Response({"code": "body_too_large", "message": message}, status=413)
    message = "The server cannot accept this request."
    return Response({"code": "invalid_request", "message": message}, status=400)


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
            "message": "An unexpected error occurred on the server."
            f" The server's log describes it under the reference {reference}.",
            "reference": reference,
        },
        status=500,
    )


class JsonErrors(View):
    """Mixin for API views: `handle_exception` answers errors, and bodies need a length."""

    def get_exception_handler(self) -> Callable[..., Response | None]:
        """Return the handler that REST framework calls with an exception of this view."""
        return handle_exception

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Raise LengthRequired on a body without ``Content-Length``."""
        super().initial(request, *args, **kwargs)
        require_length(request)
