"""Check an idle database connection of a web process without a query.

Django asks the database ``SELECT 1`` at the beginning of each HTTP request. A connection that the
server has closed can be read without waiting, so a look at the socket says the same. A connection
that a network has dropped without a word looks open until TCP's keepalives fail, which
`cvat_lambda.server.settings` sets to 25 s.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from typing import Any

from django.db import connections


def check_idle_connections(**kwargs: object) -> None:
    """Spare the connections that look open Django's query; receive ``request_started``.

    Connect it after Django's own receiver, which orders the check.
    """
    wrappers: Sequence[Any] = connections.all(initialized_only=True)
    for wrapper in wrappers:
        if wrapper.health_check_enabled and _is_open(wrapper.connection):
            wrapper.health_check_done = True


def _is_open(connection: Any) -> bool:
    """Return whether a connection is open and nothing has come from the server meanwhile."""
    if connection is None:
        return False
    try:
        if connection.closed:
            return False
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        return not poll.poll(0)
    except (AttributeError, OSError, ValueError):
        return False  # another database's driver, or a closed socket: Django asks the database
