"""Event streams of the standalone server: idle agents cost connections, but no threads."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
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
    connection = socket.create_connection((address.hostname, address.port), timeout=60)
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
    children = psutil.Process().children(recursive=True)
    (found,) = [
        process
        for process in children
        if "cvat_lambda.server.web" in process.cmdline()
        and any(c.laddr.port == port for c in process.net_connections() if c.status == "LISTEN")
    ]
    return found


def test_100_idle_agents_cost_no_threads_and_all_get_the_event(
    server: Server, native: NativeFunction, alice: User
) -> None:
    _, token = AccessToken.create(alice, name="agents")
    web = web_process(server)
    with contextlib.ExitStack() as stack:
        stack.enter_context(open_stream(server, native, token))
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
    with open_stream(server, native, token):  # this process has its subscription now
        before = len(web.net_connections())
        with open_stream(server, native, token):
            assert len(web.net_connections()) > before
        wait_for("the end of the connection", lambda: len(web.net_connections()), before.__ge__)


def test_stranger_gets_no_stream(server: Server, native: NativeFunction, charlie: User) -> None:
    _, token = AccessToken.create(charlie, name="agents")
    with pytest.raises(AssertionError, match="404"):
        open_stream(server, native, token)
