"""Who is let in: who has the token; without one, who is no web page of somebody else's.

A page in a browser may send requests to the loopback address, where a deployment runs code and a
function does work: so a foreign Origin, and a Host that is no address of this machine (DNS
rebinding), are refused, at the dashboard and at each function's own port.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

TOKEN_NEEDED: Final = "A token is needed: Authorization: Bearer <token>"
LOCAL_ONLY: Final = "Without a token, only programs of this machine are answered"


class Door:
    """Judges requests by their headers; an empty token asks for none."""

    def __init__(self, token: str) -> None:
        self._wanted = f"Bearer {token}".encode() if token else b""

    def refusal(self, host: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Return the status and the sentence for who is not let in, else None."""
        if self._wanted:
            given = headers.get("Authorization", "").encode("utf-8", "surrogateescape")
            return None if hmac.compare_digest(given, self._wanted) else (401, TOKEN_NEEDED)
        origin = headers.get("Origin")
        if is_local(host) and (origin is None or _netloc(origin) == host):
            return None
        return 403, LOCAL_ONLY


def is_local(host: str) -> bool:
    """Whether a Host header names this machine as only programs on it would."""
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
