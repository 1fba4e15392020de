"""Resolve the host of an HTTP endpoint and check its address against the allow-list.

A URL comes from a form, and its name may resolve to another address at each look-up. So
`HostResolver` resolves a name once, checks the address, and the call connects to that address.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Final, Literal
from urllib.parse import urlsplit

from cachetools import TTLCache

from cvat_lambda.allowed_hosts import admits, resolve
from cvat_lambda.conf import settings
from cvat_lambda.errors import InvalidRequest, PlatformUnreachable
from cvat_lambda.gateway.http import Server

_KEPT_S: Final = 30.0  # a checked address is used for this time before the name is resolved again
_KEPT: Final = 1024  # checked addresses


class HostResolver:
    """Resolves the hosts of endpoints and caches the addresses that the allow-list admits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._checked: TTLCache[tuple[str, int, tuple[str, ...]], str] = TTLCache(_KEPT, _KEPT_S)

    def allowed_server(self, url: str) -> tuple[Server, str]:
        """Return the server of an endpoint's URL with a checked address, and the path.

        Raise InvalidRequest if the list admits no address of the host, PlatformUnreachable if
        the name is unknown.
        """
        server, path = split_url(url)
        allowed = tuple(settings.ENDPOINT_ALLOWED_HOSTS)
        key = (server.host, server.port, allowed)
        with self._lock:
            ip = self._checked.get(key)
        if ip is None:
            ip = _checked_address(server, allowed)
            with self._lock:
                self._checked[key] = ip
        return Server(scheme=server.scheme, host=server.host, port=server.port, ip=ip), path

    def reset(self) -> None:
        """Delete the checked addresses."""
        with self._lock:
            self._checked.clear()


@lru_cache(maxsize=256)  # each call splits the URL of its endpoint
def split_url(url: str) -> tuple[Server, str]:
    """Split an endpoint's URL into server and path with query. Raise InvalidRequest."""
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode()
    except (ValueError, UnicodeError) as exc:
        raise InvalidRequest("the URL of the endpoint is malformed") from exc
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidRequest("the URL of an endpoint begins with http:// or https:// and a host")
    if parts.username is not None or parts.password is not None:
        raise InvalidRequest("give the endpoint's token beside the URL, not in it")
    if parts.fragment or any(char.isspace() or ord(char) < 32 for char in url):
        raise InvalidRequest("the URL of the endpoint holds a space or a fragment")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii():
        raise InvalidRequest("the path of the endpoint's URL must be percent-encoded")
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    return Server(scheme=scheme, host=host, port=port or (443 if scheme == "https" else 80)), path


def _checked_address(server: Server, allowed: tuple[str, ...]) -> str:
    try:
        addresses = resolve(server.host, server.port)
    except OSError as exc:
        raise PlatformUnreachable(f"the endpoint's host '{server.host}' is not known") from exc
    for address in addresses:
        if admits(allowed, server.host, address):
            return str(address)
    raise InvalidRequest(
        f"the host '{server.host}' is not allowed for endpoints; an administrator adds it to "
        "CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS, and its network too if its address is not public"
    )
