"""Decide which hosts the server may connect to on behalf of a user.

A user gives a URL; an administrator gives the list of allowed hosts in a setting. The caller
resolves the name once with `resolve`, picks an address with `admits`, and connects to that very
address: a name server cannot change the answer in between.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Final, TypeAlias

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# Networks that count as internal although `is_global` may say otherwise.
_INTERNAL: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "2002::/16",  # 6to4 (RFC 3056): holds an IPv4 address, also a private one
        "2001::/32",  # Teredo (RFC 4380), likewise
        "64:ff9b::/96",  # NAT64 (RFC 6052), likewise
        "64:ff9b:1::/48",  # NAT64 (RFC 8215), likewise
        "::/96",  # IPv4-compatible addresses (RFC 4291), likewise
        "168.63.129.16/32",  # the metadata service of Azure
    )
)


def admits(allowed: Iterable[str], host: str, address: IPAddress) -> bool:
    """Return whether the list allows a connection to this host at this address.

    An entry is a network (``10.1.0.0/16``, a single address), a host (``models.example.org``), a
    domain (``*.example.org``), or ``localhost``. A network allows every address in it. A host or
    a domain allows public addresses only: a private, loopback, link-local, multicast or
    unspecified address, 6to4, NAT64 and the metadata services of clouds need a network entry.
    ``localhost`` allows the loopback addresses of this name.
    """
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped if mapped is not None else address
    name = host.lower().rstrip(".")
    for entry in allowed:
        network = _network(entry)
        if network is not None:
            if address in network:
                return True
        elif entry.lower() == "localhost":
            if name == "localhost" and address.is_loopback:
                return True
        elif _matches(entry.lower().rstrip("."), name) and is_public(address):
            return True
    return False


def is_named(allowed: Iterable[str], host: str) -> bool:
    """Return whether the list may allow a host, before its name is resolved."""
    name = host.lower().rstrip(".")
    try:
        return admits(allowed, host, ipaddress.ip_address(name))
    except ValueError:
        pass
    return any(
        _network(entry) is not None or _matches(entry.lower().rstrip("."), name)
        for entry in allowed
    )


def is_public(address: IPAddress) -> bool:
    """Return whether an address belongs to the public Internet."""
    if address.is_multicast or not address.is_global:
        return False
    return not any(address in network for network in _INTERNAL)


def resolve(host: str, port: int) -> list[IPAddress]:
    """Return the addresses of a host. Raise OSError if the name is unknown."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as exc:
        raise OSError(f"{host!r} is not a host name") from exc
    return [ipaddress.ip_address(str(item[4][0]).partition("%")[0]) for item in found]


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def _matches(entry: str, name: str) -> bool:
    return name.endswith(entry[1:]) if entry.startswith("*.") else name == entry
