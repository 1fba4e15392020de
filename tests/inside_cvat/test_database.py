"""Database connections that wait for the next web request."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_started
from django.db import connection, connections
from django.test import Client

from cvat_lambda.integration.cvat.database import base
from cvat_lambda.integration.cvat.database.kept import KeptConnections, kept


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[KeptConnections]:
    """Kept connections of a process that serves."""
    found = KeptConnections()
    found.serve()
    monkeypatch.setattr(base, "kept", found)
    yield found
    found.clear()


def other() -> Any:
    """A connection as another thread has it."""
    return connections["default"].copy()


def backend(wrapper: Any) -> int:
    """The process of PostgreSQL at the other end."""
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def test_overlay_names_this_engine() -> None:
    assert connection.settings_dict["ENGINE"] == "cvat_lambda.integration.cvat.database"
    assert connection.vendor == "postgresql"


def test_next_thread_gets_the_connection_of_the_last(waiting: KeptConnections) -> None:
    first, second = other(), other()
    found = backend(first)
    first.close()
    assert first.connection is None
    assert backend(second) == found
    second.close()


def test_two_at_once_have_two(waiting: KeptConnections) -> None:
    first, second = other(), other()
    assert backend(first) != backend(second)
    first.close()
    second.close()


def test_no_more_wait_than_the_setting_says(waiting: KeptConnections, settings: Any) -> None:
    settings.CVAT_LAMBDA_KEPT_DATABASE_CONNECTIONS = 1
    first, second, third, fourth = other(), other(), other(), other()
    kept_one, closed_one = backend(first), backend(second)
    first.close()
    second.close()
    assert backend(third) == kept_one
    assert backend(fourth) not in (kept_one, closed_one)
    third.close()
    fourth.close()
    settings.CVAT_LAMBDA_KEPT_DATABASE_CONNECTIONS = 0
    fifth = other()
    found = backend(fifth)
    fifth.close()
    assert backend(fifth) not in (found,)
    fifth.close()


def test_connection_in_a_transaction_is_not_kept(waiting: KeptConnections) -> None:
    first, second = other(), other()
    found = backend(first)
    first.set_autocommit(False)
    with first.cursor() as cursor:
        cursor.execute("SELECT 1")
    first.close()
    assert backend(second) != found
    second.close()


def test_connection_that_the_server_ended_is_replaced(waiting: KeptConnections) -> None:
    first, second = other(), other()
    found = backend(first)
    first.close()
    with second.cursor() as cursor:  # takes the kept one; a third ends it
        cursor.execute("SELECT 1")
    second.close()
    third = other()
    third.ensure_connection()  # the kept one
    fourth = other()
    with fourth.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [found])
    third.close()
    fourth.close()
    for wrapper in (other(), other()):
        assert backend(wrapper) != found
        wrapper.close()


def test_child_process_does_not_use_its_parents_connections(waiting: KeptConnections) -> None:
    first = other()
    found = backend(first)
    first.close()
    child = os.fork()
    if child == 0:  # a horse of RQ
        status = 1
        try:
            mine = other()
            status = int(backend(mine) == found)
            mine.close()
            status += 2 * (backend(mine) == found)
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    second = other()
    assert backend(second) == found
    second.close()


@pytest.mark.django_db
def test_only_a_server_of_http_keeps_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[bool] = []
    monkeypatch.setattr(kept, "serve", lambda: served.append(True))
    Client().get("/api/server/about")
    assert served == []
    request_started.send(sender=ASGIHandler)
    assert served == [True]
