"""A client of CVAT's policy server with pooled connections.

CVAT opens a connection for each question, and a call asks two. The questions are CVAT's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import urllib3
from urllib3.exceptions import HTTPError

_HEADERS: Final[Mapping[str, str]] = {"Content-Type": "application/json"}
_TIMEOUT: Final = urllib3.Timeout(connect=2.0, read=10.0)

# Shared by all threads. A pooled connection that was closed is replaced by a new one.
_pool: Final = urllib3.PoolManager(num_pools=2, maxsize=8, retries=urllib3.Retry(1, redirect=0))


def allows(permission: Any) -> bool:
    """Whether the policy allows what a permission of CVAT asks.

    Raise what CVAT's own ``check_access`` raises.
    """
    found = ask(permission)
    if found is None:  # whatever it is, CVAT knows what to make of it
        found = permission.check_access().allow
    return bool(found)


def ask(permission: Any) -> bool | None:
    """What the policy says; None where that is no plain answer, or none comes."""
    if not permission.url.startswith("http://"):
        return None
    try:
        answer = _pool.request(
            "POST",
            permission.url,
            body=json.dumps(permission.payload).encode(),
            headers=_HEADERS,
            timeout=_TIMEOUT,
        )
        if answer.status != 200:
            return None  # whatever its body says
        found = json.loads(answer.data).get("result")
    except (HTTPError, ValueError, AttributeError):
        return None
    if isinstance(found, dict):
        found = found.get("allow")
    return found if isinstance(found, bool) else None
