"""The pool of open database connections that the HTTP requests of a web process share."""

from __future__ import annotations

import os
import select
import threading
import time
from dataclasses import dataclass
from typing import Any, Final

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_started

from cvat_lambda.conf import settings

MAX_IDLE_S: Final = 60.0  # a connection that waited longer is closed
MAX_AGE_S: Final = 600.0  # the memory of a PostgreSQL process grows with its age
_READY: Final = 1  # psycopg2's STATUS_READY: no transaction was begun
_IDLE: Final = 0  # libpq's PQTRANS_IDLE

Key = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _IdleConnection:
    connection: Any
    since: float  # of time.monotonic


class ConnectionPool:
    """Open connections by their parameters. The connection given last is taken first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[Key, list[_IdleConnection]] = {}
        self._opened_at: dict[int, float] = {}  # by the id of an open connection
        self._pid: int | None = None  # of the process for which the pool is enabled
        self._inherited: list[Any] = []

    def enable(self) -> None:
        """Enable the pool in this process."""
        if self._pid != os.getpid():
            with self._lock:
                self._abandon_inherited()
                self._pid = os.getpid()

    def take(self, key: Key) -> Any:
        """Return an open connection with these parameters, or None if there is none."""
        if self._pid != os.getpid():
            return None
        now = time.monotonic()
        while True:
            with self._lock:
                idle = self._idle.get(key)
                if not idle:
                    return None
                found = idle.pop()
            if now - found.since < MAX_IDLE_S and not _is_readable(found.connection):
                return found.connection
            self._close(found.connection)

    def give(self, key: Key, connection: Any) -> bool:
        """Put a connection into the pool. Return False if the caller must close it."""
        if self._pid != os.getpid() or not _is_clean(connection):
            self._opened_at.pop(id(connection), None)
            return False
        now = time.monotonic()
        with self._lock:
            idle = self._idle.setdefault(key, [])
            opened_at = self._opened_at.setdefault(id(connection), now)
            if now - opened_at < MAX_AGE_S and len(idle) < settings.KEPT_DATABASE_CONNECTIONS:
                idle.append(_IdleConnection(connection, now))
                return True
            del self._opened_at[id(connection)]
        return False

    def clear(self) -> None:
        """Close all connections of the pool."""
        with self._lock:
            found = [item.connection for items in self._idle.values() for item in items]
            self._idle.clear()
        if self._pid == os.getpid():
            for connection in found:
                self._close(connection)

    def _close(self, connection: Any) -> None:
        self._opened_at.pop(id(connection), None)
        try:
            connection.close()
        except Exception:
            pass  # the connection is not used any more

    def _abandon_inherited(self) -> None:
        """Keep the parent's connections open but unused: to close them would end its sessions."""
        self._inherited += [item for items in self._idle.values() for item in items]
        self._idle.clear()
        self._opened_at.clear()


def _is_clean(connection: Any) -> bool:
    """Return whether psycopg2 reports no transaction. Other drivers' connections are not pooled."""
    status = getattr(connection, "get_transaction_status", None)
    return bool(
        status is not None
        and not connection.closed
        and connection.autocommit
        and connection.status == _READY
        and status() == _IDLE
    )


def _is_readable(connection: Any) -> bool:
    """Return whether the server has sent something: to an idle connection, only its end."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


pool: Final = ConnectionPool()


def _enable(sender: Any, **_: Any) -> None:
    """Enable the pool at the first HTTP request, unless it comes from Django's test client."""
    if isinstance(sender, type) and issubclass(sender, (ASGIHandler, WSGIHandler)):
        pool.enable()


request_started.connect(_enable, dispatch_uid=f"{__name__}.enable")
