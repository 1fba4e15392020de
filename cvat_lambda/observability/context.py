"""The context of log lines, spans and audit entries: a request id, and who acts."""

from __future__ import annotations

import getpass
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from django.http import HttpRequest

_ID: Final = re.compile(r"[0-9A-Za-z._:-]{1,128}")
_request_id: ContextVar[str] = ContextVar("cvat_lambda_request_id", default="")
_http_request: ContextVar[HttpRequest | None] = ContextVar("cvat_lambda_http_request", default=None)


def current_request_id() -> str:
    """Return the id of the HTTP request or background request in progress; "" outside of one."""
    return _request_id.get()


def request_id_of(http_request: HttpRequest) -> str:
    """Return the id of an HTTP request: CVAT's own, the client's if it is usable, or a new one."""
    sent = http_request.META.get("HTTP_X_REQUEST_ID", "")  # `headers` would copy all of them
    known = str(getattr(http_request, "uuid", "") or sent)
    return known if _ID.fullmatch(known) else uuid.uuid4().hex


@contextmanager
def request_context(request_id: str, http_request: HttpRequest | None = None) -> Iterator[None]:
    """Work for one request in this block."""
    id_token = _request_id.set(request_id)
    http_token = None if http_request is None else _http_request.set(http_request)
    try:
        yield
    finally:
        _request_id.reset(id_token)
        if http_token is not None:
            _http_request.reset(http_token)


def current_actor() -> tuple[int | None, str]:
    """Return id and name of the user who acts; of a command, None and the system's user."""
    http_request = _http_request.get()
    if http_request is None:
        return None, f"command of {_system_user()}"
    user = getattr(http_request, "user", None)
    if user is None or not user.is_authenticated:
        return None, "anonymous"
    return user.pk, user.get_username()


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container may run under an id without a name
        return "unknown"
