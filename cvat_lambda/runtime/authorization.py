"""Authorization of requests by a bearer token, at the dashboard and at each function's port.

Without a token, only programs of this machine may send requests. A web page in a browser can send
requests to the loopback address, too. They are rejected if their Origin is foreign, or if their
Host is not a loopback address (DNS rebinding).
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cvat_lambda.runtime.errors import RuntimeFault

TOKEN_NEEDED: Final = "A token is needed: Authorization: Bearer <token>"
LOCAL_ONLY: Final = "Without a token, only programs of this machine are answered"


class RequestAuthorizer:
    """Authorizes requests by their headers. An empty token means that none is needed."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode() if token else b""

    def rejection(self, host: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Return the status and the sentence of a rejection, or None for an authorized request."""
        if self._expected:
            given = headers.get("Authorization", "").encode("utf-8", "surrogateescape")
            return None if hmac.compare_digest(given, self._expected) else (401, TOKEN_NEEDED)
        origin = headers.get("Origin")
        if is_local(host) and (origin is None or _netloc(origin) == host):
            return None
        return 403, LOCAL_ONLY


def token_in(file: Path) -> str:
    """Return the token in a file; write a random one that only this user can read if it is missing.

    Raise OSError, and RuntimeFault for an empty file.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        token = file.read_text(encoding="utf-8").strip()
        if not token:
            raise RuntimeFault(f"the token file {file} is empty: delete it") from None
        return token
    token = secrets.token_urlsafe(32)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(token + "\n")
    return token


def is_local(host: str) -> bool:
    """Return whether a Host header names a loopback address."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
