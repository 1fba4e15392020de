"""The pool of database connections of a web process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_started
from django.db import connection, connections
from django.test import Client
from pytest_django import Settings

from cvat_lambda.integration.cvat.database import base
from cvat_lambda.integration.cvat.database.connection_pool import ConnectionPool, pool


@pytest.fixture
def enabled_pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[ConnectionPool]:
    """A pool that is enabled in this process."""
    found = ConnectionPool()
    found.enable()
    monkeypatch.setattr(base, "pool", found)
    yield found
    found.clear()


def new_wrapper() -> Any:
    """A connection object of Django's, as another thread has it."""
    return connections["default"].copy()


def backend_pid(wrapper: Any) -> int:
    """The id of the PostgreSQL process that serves the connection."""
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def test_overlay_selects_the_engine_with_the_pool() -> None:
    assert connection.settings_dict["ENGINE"] == "cvat_lambda.integration.cvat.database"
    assert connection.vendor == "postgresql"


def test_closed_connection_is_reused_by_the_next_thread(enabled_pool: ConnectionPool) -> None:
    first, second = new_wrapper(), new_wrapper()
    found = backend_pid(first)
    first.close()
    assert first.connection is None
    assert backend_pid(second) == found
    second.close()


def test_two_threads_at_once_have_different_connections(enabled_pool: ConnectionPool) -> None:
    first, second = new_wrapper(), new_wrapper()
    assert backend_pid(first) != backend_pid(second)
    first.close()
    second.close()


def test_pool_keeps_no_more_connections_than_the_setting(
    enabled_pool: ConnectionPool, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_KEPT_DATABASE_CONNECTIONS = 1
    first, second, third, fourth = new_wrapper(), new_wrapper(), new_wrapper(), new_wrapper()
    pooled, closed = backend_pid(first), backend_pid(second)
    first.close()
    second.close()
    assert backend_pid(third) == pooled
    assert backend_pid(fourth) not in (pooled, closed)
    third.close()
    fourth.close()
    settings.CVAT_LAMBDA_KEPT_DATABASE_CONNECTIONS = 0
    fifth = new_wrapper()
    found = backend_pid(fifth)
    fifth.close()
    assert backend_pid(fifth) not in (found,)
    fifth.close()


def test_connection_in_a_transaction_is_not_pooled(enabled_pool: ConnectionPool) -> None:
    first, second = new_wrapper(), new_wrapper()
    found = backend_pid(first)
    first.set_autocommit(False)
    with first.cursor() as cursor:
        cursor.execute("SELECT 1")
    first.close()
    assert backend_pid(second) != found
    second.close()


def test_connection_that_the_server_closed_is_replaced(enabled_pool: ConnectionPool) -> None:
    first, second = new_wrapper(), new_wrapper()
    found = backend_pid(first)
    first.close()
    with second.cursor() as cursor:  # takes the pooled one; another one ends it
        cursor.execute("SELECT 1")
    second.close()
    third = new_wrapper()
    third.ensure_connection()  # takes the pooled one
    fourth = new_wrapper()
    with fourth.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [found])
    third.close()
    fourth.close()
    for wrapper in (new_wrapper(), new_wrapper()):
        assert backend_pid(wrapper) != found
        wrapper.close()


def test_child_process_opens_its_own_connections(enabled_pool: ConnectionPool) -> None:
    first = new_wrapper()
    found = backend_pid(first)
    first.close()
    child = os.fork()
    if child == 0:  # as RQ's worker forks
        status = 1
        try:
            mine = new_wrapper()
            status = int(backend_pid(mine) == found)
            mine.close()
            status += 2 * (backend_pid(mine) == found)
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    second = new_wrapper()
    assert backend_pid(second) == found
    second.close()


@pytest.mark.django_db
def test_pool_is_enabled_by_a_real_http_request_only(monkeypatch: pytest.MonkeyPatch) -> None:
    enabled: list[bool] = []
    monkeypatch.setattr(pool, "enable", lambda: enabled.append(True))
    Client().get("/api/server/about")
    assert enabled == []
    request_started.send(sender=ASGIHandler)
    assert enabled == [True]
