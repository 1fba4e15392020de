"""An HTTP request finds out without a query whether its database connection is still open."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.signals import request_started
from django.db import close_old_connections, connection, connections

from cvat_lambda.server.connection_check import check_idle_connections

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    """A thread of a web process: it has a connection of its own, which it keeps."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no connections to a server")
    with ThreadPoolExecutor(1) as pool:
        yield pool
        pool.submit(connections.close_all).result()


def open_connection() -> int:
    """Open the thread's connection. Return the id of its server process."""
    own = connections["default"]
    own.ensure_connection()
    own.close_at = None  # the tests' settings would close it
    return backend_pid()


def backend_pid() -> int:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def begin_request() -> None:
    """Do what Django does at the beginning of an HTTP request, and take a cursor.

    Django's test client connects Django's own receiver again, behind the one of the app, which is
    the last one in a server.
    """
    request_started.disconnect(close_old_connections)
    close_old_connections()
    request_started.send(sender=None)
    request_started.connect(close_old_connections)
    connections["default"].cursor().close()


def test_open_connection_is_used_again_without_a_query(thread: ThreadPoolExecutor) -> None:
    pid = thread.submit(open_connection).result()
    thread.submit(begin_request).result()
    with connection.cursor() as cursor:
        cursor.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", [pid])
        assert cursor.fetchone() == ("SELECT pg_backend_pid()",)
    assert thread.submit(backend_pid).result() == pid


def test_connection_that_the_server_closed_is_replaced(thread: ThreadPoolExecutor) -> None:
    pid = thread.submit(open_connection).result()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 180000)", [pid])
    thread.submit(begin_request).result()
    assert thread.submit(backend_pid).result() != pid


def test_database_without_a_socket_is_left_to_django(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("a connection to a server has a socket")
    own = connections["default"]
    own.ensure_connection()
    monkeypatch.setattr(own, "health_check_enabled", True)
    # As at the beginning of an HTTP request. The stubs of Django lack this attribute.
    monkeypatch.setattr(own, "health_check_done", False)
    check_idle_connections()  # raised AttributeError
    assert not vars(own)["health_check_done"]
