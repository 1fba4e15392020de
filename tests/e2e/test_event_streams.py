"""Event streams of the standalone server: idle agents cost connections, but no threads."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from django.contrib.auth.models import User

from cvat_lambda.agents import queue, store
from cvat_lambda.agents.description import Description
from cvat_lambda.agents.models import Category, NativeFunction
from cvat_lambda.agents.wakeups import get_wakeups
from cvat_lambda.engine.standalone.models import AccessToken
from cvat_lambda.functions.spec import Kind
from cvat_lambda.redis_client import connect
from tests.e2e.conftest import Server
from tests.waiting import wait_for

STREAMS = 100


@pytest.fixture
def native(transactional_db: None, alice: User) -> Iterator[NativeFunction]:
    """A detector of alice."""
    labels = [{"name": "car", "type": "rectangle", "attributes": []}]
    description = Description(name="finder", kind=Kind.DETECTOR, labels=labels)
    yield store.create(description, owner_id=alice.pk, organization_id=None)
    get_wakeups().stop()


def open_stream(server: Server, native: NativeFunction, token: str) -> socket.socket:
    """Open a stream, and return its connection after the first line of the body."""
    address = urlsplit(server.url)
    connection = socket.create_connection((address.hostname, address.port), timeout=180)
    path = f"/api/functions/queues/function:{native.pk}/watch"
    head = [
        f"GET {path} HTTP/1.1",
        f"Host: {address.netloc}",
        f"Authorization: Bearer {token}",
        "Connection: close",
    ]
    connection.sendall("\r\n".join([*head, "", ""]).encode())
    try:
        read_until(connection, b"retry: 1000\n")
    except AssertionError:
        connection.close()
        raise
    return connection


def open_first_stream(server: Server, native: NativeFunction, token: str) -> socket.socket:
    """Open a stream as soon as the server has subscribed to Redis. Until then it opens none."""

    def opened() -> socket.socket | None:
        with contextlib.suppress(AssertionError):
            return open_stream(server, native, token)
        return None

    stream = wait_for("an open stream", opened)
    assert stream is not None
    return stream


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """Read until the received bytes contain ``end``."""
    received = b""
    while end not in received:
        part = connection.recv(4096)
        assert part, received
        received += part
    return received


def web_process(server: Server) -> psutil.Process:
    """Return the process that serves."""
    port = urlsplit(server.url).port
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended
            if "cvat_lambda.server.web" in process.cmdline() and port in ports_of(process):
                found.append(process)
    (web,) = found
    return web


def clients_of(web: psutil.Process) -> set[tuple[str, int]]:
    """Return the addresses of the other ends of the connections of a process."""
    return {(found.raddr.ip, found.raddr.port) for found in web.net_connections() if found.raddr}


def ports_of(web: psutil.Process) -> set[int]:
    """Return the own ports of the connections of a process."""
    return {found.laddr.port for found in web.net_connections() if found.laddr}


def redis_clients() -> set[int]:
    """Return the ports of the clients that have subscribed to a channel of Redis."""
    with connect() as client:
        found: Any = client.client_list(_type="pubsub")
    return {int(client["addr"].rpartition(":")[2]) for client in found}


def test_100_idle_agents_cost_no_threads_and_all_get_the_event(
    server: Server, native: NativeFunction, alice: User
) -> None:
    _, token = AccessToken.create(alice, name="agents")
    web = web_process(server)
    with contextlib.ExitStack() as stack:
        stack.enter_context(open_first_stream(server, native, token))
        wait_for("the subscription of the server", lambda: redis_clients() & ports_of(web))
        threads = web.num_threads()
        streams = [stack.enter_context(open_stream(server, native, token)) for _ in range(STREAMS)]
        assert web.num_threads() <= threads + 1  # of the pool, for the first requests at once
        sent_at = time.perf_counter()
        queue.enqueue(native.pk, category=Category.BATCH, params={"type": "x"}, wanted_s=60)
        for stream in streams:
            read_until(stream, b'{"request_category": "batch"}')
        print(f"{STREAMS} streams got an event after {time.perf_counter() - sent_at:.3f} s")
        store.delete(native)
        for stream in streams:
            read_until(stream, b"0\r\n\r\n")
            assert stream.recv(16) == b""


def test_closed_stream_is_forgotten(server: Server, native: NativeFunction, alice: User) -> None:
    _, token = AccessToken.create(alice, name="agents")
    web = web_process(server)
    with open_first_stream(server, native, token) as stream:
        address = stream.getsockname()
        assert address in clients_of(web)
    wait_for("the end of the connection", lambda: address not in clients_of(web))


def test_stranger_gets_no_stream(server: Server, native: NativeFunction, charlie: User) -> None:
    _, token = AccessToken.create(charlie, name="agents")
    with pytest.raises(AssertionError, match="404"):
        open_stream(server, native, token)
