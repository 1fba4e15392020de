"""Which hosts an HTTP endpoint may be on: the guard against requests to internal services.

A URL comes from a form, and its name may resolve to something else at each look-up. So a name is
resolved once, what it resolved to is checked, and that very address is connected to.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Literal
from urllib.parse import urlsplit

from cvat_lambda.conf import settings
from cvat_lambda.errors import InvalidRequest, PlatformUnreachable
from cvat_lambda.gateway.http import Server

_IP = ipaddress.IPv4Address | ipaddress.IPv6Address
_KEPT_S: Final = 30.0  # how long a checked address is used before the name is resolved again
# What clouds answer their machines with credentials from, beside the link-local 169.254.169.254.
_METADATA: Final = (
    ipaddress.ip_network("fd00:ec2::/32"),  # AWS
    ipaddress.ip_network("fd20:ce::254/128"),  # Google
    ipaddress.ip_network("fd00:c1::a9fe:a9fe/128"),  # Oracle
    ipaddress.ip_network("100.100.100.200/32"),  # Alibaba
    ipaddress.ip_network("168.63.129.16/32"),  # Azure
)
_lock = threading.Lock()
_kept: dict[tuple[str, int, tuple[str, ...]], tuple[float, str]] = {}


@lru_cache(maxsize=256)  # asked for each call
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


def allowed_server(url: str) -> tuple[Server, str]:
    """Resolve an endpoint's host to an address that the allow-list admits.

    Raises InvalidRequest where it admits none, PlatformUnreachable where the name is unknown.
    """
    server, path = split_url(url)
    allowed = tuple(settings.ENDPOINT_ALLOWED_HOSTS)
    key = (server.host, server.port, allowed)
    with _lock:
        until, ip = _kept.get(key, (0.0, ""))
    if time.monotonic() > until:
        addresses = _resolve(server.host, server.port)
        ip = next((str(found) for found in addresses if admits(allowed, server.host, found)), "")
        if not ip:
            raise InvalidRequest(
                f"the host '{server.host}' is not allowed for endpoints; an administrator adds it "
                "to CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS"
            )
        with _lock:
            _kept[key] = (time.monotonic() + _KEPT_S, ip)
    return Server(scheme=server.scheme, host=server.host, port=server.port, ip=ip), path


def admits(allowed: Iterable[str], host: str, address: _IP) -> bool:
    """Whether the list admits this host at this address.

    Entries are networks (``10.1.0.0/16``, a bare address), hosts (``models.example.org``) and
    domains (``*.example.org``). A name alone does not admit an address of this machine, of its
    link, or of a cloud's metadata service: those need a network, or the entry ``localhost``.
    """
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped if mapped is not None else address
    name = host.lower().rstrip(".")
    for entry in allowed:
        network = _network(entry)
        if network is not None:
            if address in network:
                return True
        elif entry.lower() == "localhost" and name == "localhost":
            if address.is_loopback:
                return True
        elif _matches(entry.lower().rstrip("."), name) and not _is_near(address):
            return True
    return False


def forget() -> None:
    """Forget resolved names."""
    with _lock:
        _kept.clear()


def _resolve(host: str, port: int) -> list[_IP]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise PlatformUnreachable(f"the endpoint's host '{host}' is not known") from exc
    return [ipaddress.ip_address(str(item[4][0]).partition("%")[0]) for item in found]


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def _matches(entry: str, name: str) -> bool:
    return name.endswith(entry[1:]) if entry.startswith("*.") else name == entry


def _is_near(address: _IP) -> bool:
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address.is_reserved
        or any(address in network for network in _METADATA)
    )
