"""The database connections that wait for the next request of a web server's process."""

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

IDLE_S: Final = 60.0  # longer than that a connection does not wait
LIFE_S: Final = 600.0  # PostgreSQL's processes grow with what they have seen
_READY: Final = 1  # psycopg2's STATUS_READY: no transaction was begun
_IDLE: Final = 0  # libpq's PQTRANS_IDLE

Key = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Waiting:
    connection: Any
    since: float  # of time.monotonic


class KeptConnections:
    """Open connections by their parameters, the last one given first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[Key, list[_Waiting]] = {}
        self._born: dict[int, float] = {}  # by id of the connection, while it lives
        self._pid: int | None = None  # of the process that serves
        self._inherited: list[Any] = []

    def serve(self) -> None:
        """From now on this process keeps connections."""
        if self._pid != os.getpid():
            with self._lock:
                self._disown()
                self._pid = os.getpid()

    def take(self, key: Key) -> Any:
        """An open connection with these parameters; None if there is none."""
        if self._pid != os.getpid():
            return None
        now = time.monotonic()
        while True:
            with self._lock:
                waiting = self._waiting.get(key)
                if not waiting:
                    return None
                found = waiting.pop()
            if now - found.since < IDLE_S and not _has_spoken(found.connection):
                return found.connection
            self._close(found.connection)

    def give(self, key: Key, connection: Any) -> bool:
        """Keep a connection; False if it must be closed."""
        if self._pid != os.getpid() or not _is_clean(connection):
            self._born.pop(id(connection), None)
            return False
        now = time.monotonic()
        with self._lock:
            waiting = self._waiting.setdefault(key, [])
            born = self._born.setdefault(id(connection), now)
            if now - born < LIFE_S and len(waiting) < settings.KEPT_DATABASE_CONNECTIONS:
                waiting.append(_Waiting(connection, now))
                return True
            del self._born[id(connection)]
        return False

    def clear(self) -> None:
        """Close all that wait."""
        with self._lock:
            found = [item.connection for items in self._waiting.values() for item in items]
            self._waiting.clear()
        if self._pid == os.getpid():
            for connection in found:
                self._close(connection)

    def _close(self, connection: Any) -> None:
        self._born.pop(id(connection), None)
        try:
            connection.close()
        except Exception:
            pass  # it is of no use, whatever it says

    def _disown(self) -> None:
        """Let go of what a parent process uses: to end it here would end it there."""
        self._inherited += [item for items in self._waiting.values() for item in items]
        self._waiting.clear()
        self._born.clear()


def _is_clean(connection: Any) -> bool:
    """Whether psycopg2 says that nothing is under way; other drivers' are not kept."""
    status = getattr(connection, "get_transaction_status", None)
    return bool(
        status is not None
        and not connection.closed
        and connection.autocommit
        and connection.status == _READY
        and status() == _IDLE
    )


def _has_spoken(connection: Any) -> bool:
    """Whether the server said something unasked: that it ends the connection."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


kept: Final = KeptConnections()


def _serve(sender: Any, **_: Any) -> None:
    """A request that came over HTTP; tests have handlers of their own."""
    if isinstance(sender, type) and issubclass(sender, (ASGIHandler, WSGIHandler)):
        kept.serve()


request_started.connect(_serve, dispatch_uid="cvat_lambda.integration.cvat.database.kept")
