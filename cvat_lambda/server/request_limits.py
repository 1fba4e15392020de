"""Middleware: a limit on the requests that one client may have in progress in this process."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable

from django.conf import settings as django_settings
from django.http import HttpRequest, HttpResponse, JsonResponse

from cvat_lambda.api.call_limits import call_limits
from cvat_lambda.engine.standalone.conf import engine_settings
from cvat_lambda.errors import LambdaError, TooManyCalls, TooManyLogins

CALLS = "/api/lambda/functions/"
EXEMPT = ("/health", "/static/")
MESSAGE = "Too many requests of this client are in progress. Wait until one has ended."


class RequestLimits:
    """Answer 429 to a client that has ``MAX_REQUESTS_PER_CLIENT`` requests in progress.

    A client is told by its credentials, or by its address if it sends none. Credentials are not
    verified here, so that a refusal costs no query.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response
        self._lock = threading.Lock()
        self._in_progress: Counter[str] = Counter()

    def process_exception(self, request: HttpRequest, exc: Exception) -> HttpResponse | None:
        """Answer a refused login of a page as text."""
        if not isinstance(exc, TooManyLogins):
            return None
        return HttpResponse(
            exc.message,
            status=exc.status_code,
            content_type="text/plain",
            headers={"Retry-After": str(exc.retry_after_s)},
        )

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path.startswith(EXEMPT):
            return self._get_response(request)
        try:
            _check_call(request)
        except LambdaError as exc:
            return _refusal(exc)
        client = client_key(request)
        with self._lock:
            if self._in_progress[client] >= engine_settings.MAX_REQUESTS_PER_CLIENT:
                return _refusal(TooManyCalls(MESSAGE))
            self._in_progress[client] += 1
        try:
            return self._get_response(request)
        finally:
            with self._lock:
                self._in_progress[client] -= 1
                if not self._in_progress[client]:
                    del self._in_progress[client]


def _check_call(request: HttpRequest) -> None:
    """Raise FunctionBusy or ServerBusy before the call costs a query. The view counts it."""
    if request.method == "POST" and request.path.startswith(CALLS):
        call_limits.check_function(request.path.removeprefix(CALLS).rstrip("/"))


def _refusal(exc: LambdaError) -> HttpResponse:
    headers = {"Retry-After": str(exc.retry_after_s or 1)}
    return JsonResponse(exc.to_json(), status=exc.status_code, headers=headers)


def client_key(request: HttpRequest) -> str:
    """Return a key of the client: a digest of its credentials, or its address."""
    credentials = request.META.get("HTTP_AUTHORIZATION") or request.COOKIES.get(
        django_settings.SESSION_COOKIE_NAME
    )
    if credentials:
        return hashlib.blake2b(credentials.encode("utf-8", "replace"), digest_size=16).hexdigest()
    return str(request.META.get("REMOTE_ADDR", ""))
