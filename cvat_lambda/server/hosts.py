"""The hosts of one installation: each announces its roles and its version in Redis.

An announcement expires if it is not renewed, so the list contains running hosts only.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cvat_lambda import __version__
from cvat_lambda.redis_client import connect, connect_to

RENEW_EVERY_S: Final = 15.0
EXPIRES_AFTER_S: Final = 60
_PREFIX: Final = "cvat_lambda:host:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A running host."""

    name: str
    roles: tuple[str, ...]
    version: str


def announce(redis_url: str, roles: Sequence[str]) -> None:
    """Announce this host, without Django's settings. Raise redis.RedisError."""
    content = json.dumps({"roles": list(roles), "version": __version__})
    key = f"{_PREFIX}{socket.gethostname()}:{','.join(roles)}"
    with connect_to(redis_url) as client:
        client.set(key, content, ex=EXPIRES_AFTER_S)


def running() -> list[Host]:
    """Return the hosts that announced themselves lately. Raise redis.RedisError."""
    found = []
    with connect() as client:
        for key in client.scan_iter(match=f"{_PREFIX}*", count=1000):
            content = client.get(key)
            if content is not None:  # it has expired meanwhile
                facts = json.loads(content)
                name = key.decode().removeprefix(_PREFIX).rpartition(":")[0]
                roles = tuple(facts["roles"])
                found.append(Host(name=name, roles=roles, version=facts["version"]))
    return sorted(found, key=lambda host: host.name)
