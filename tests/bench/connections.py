"""``script/bench connections``: response times beside slow clients and slow calls.

Two web processes of the standalone server serve 500 idle connections, then 500 clients that send
one byte per second, then 200 calls of a function that takes seconds. In each state another client
requests ``/health`` and a page, one after the other.
"""

from __future__ import annotations

import http.client
import os
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench import stand

IDLE, DRIPPING, CALLS, USERS = 500, 500, 200, 25
HEALTH_P99_MS, PAGE_MAX_MS = 100.0, 1000.0
LATENCY_MS = 4000.0
HEAD = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: "


def run(*, short: bool = False) -> Iterator[dict[str, Any]]:
    """Yield a row for each measurement."""
    with tempfile.TemporaryDirectory() as name:
        stand.prepare(Path(name))
        yield from measure(Path(name), short=short)


def measure(home: Path, *, short: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows. Django and its database are set up."""
    probes, divisor = (40, 10) if short else (200, 1)
    idle, dripping, calls = IDLE // divisor, DRIPPING // divisor, CALLS // divisor
    task_id, sessions = make_users()
    states: dict[str, Callable[[int], Any]] = {
        "nobody else": quiet,
        f"{idle} idle connections": partial(idle_connections, idle),
        f"{dripping} dripping connections": partial(dripping_connections, dripping),
        f"{calls} slow calls": partial(slow_calls, calls, task_id, sessions),
    }
    with stand.function_process(LATENCY_MS, workers=4) as function_port:
        add_function(function_port)
        with web_processes(home) as port:
            for label, state in states.items():
                with state(port):
                    health = sorted(probe(port, "/health", None) for _ in range(probes))
                    page = max(probe(port, "/", sessions[-1]) for _ in range(probes // 4))
                yield row(f"/health p99, {label}", health[int(len(health) * 0.99)], HEALTH_P99_MS)
                yield row(f"page, slowest, {label}", page, PAGE_MAX_MS)


def row(name: str, value_ms: float, goal_ms: float) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value_ms, 1),
        "unit": "ms",
        "goal": goal_ms,
        "higher_is_better": False,
    }


def probe(port: int, path: str, session: str | None) -> float:
    """Return the time of a new connection and one request, in milliseconds."""
    headers = {} if session is None else {"Cookie": f"sessionid={session}"}
    begun_at = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{path} answered {answer.status}")
    return (time.perf_counter() - begun_at) * 1000


@contextmanager
def quiet(port: int) -> Iterator[None]:
    yield


@contextmanager
def idle_connections(number: int, port: int) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(number):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        yield


@contextmanager
def dripping_connections(number: int, port: int) -> Iterator[None]:
    """Connect clients that never finish the head of their request."""
    stopped = threading.Event()

    def drip(clients: list[socket.socket]) -> None:
        while not stopped.wait(1.0):
            for client in clients:
                try:
                    client.send(b"x")
                except OSError:
                    continue

    with ExitStack() as stack:
        clients = []
        for _ in range(number):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.send(HEAD)
            clients.append(client)
        thread = threading.Thread(target=drip, args=(clients,))
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()


@contextmanager
def slow_calls(calls: int, task_id: int, sessions: list[str], port: int) -> Iterator[None]:
    """Connect clients that call the slow function repeatedly."""
    stopped, statuses = threading.Event(), Counter[int]()

    def call(session: str) -> None:
        cookie = f"sessionid={session}; csrftoken={CSRF}"
        headers = {"Cookie": cookie, "X-CSRFToken": CSRF, "Content-Type": "application/json"}
        body = f'{{"task": {task_id}, "frame": 0}}'
        while not stopped.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                connection.request("POST", "/api/lambda/functions/bench", body, headers)
                answer = connection.getresponse()
                answer.read()
            finally:
                connection.close()
            statuses[answer.status] += 1
            if answer.status in (429, 503):
                stopped.wait(float(answer.headers.get("Retry-After", 1)))

    threads = [
        threading.Thread(target=call, args=(sessions[number % USERS],)) for number in range(calls)
    ]
    for thread in threads:
        thread.start()
    time.sleep(2.0)  # let the calls start
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    if not statuses[200] or statuses.keys() - {200, 429, 503}:
        raise RuntimeError(f"calls were answered with {dict(statuses)}")


CSRF = "a" * 32


def make_users(prefix: str = "user", number: int = USERS + 1) -> tuple[int, list[str]]:
    """Create a task, and administrators with sessions. Return the task's id and session keys."""
    from django.contrib.auth.models import User
    from django.test import Client

    from cvat_lambda.engine.standalone.tasks import create_task
    from cvat_lambda.server.demo_arguments import PHOTOGRAPHS

    sessions = []
    for place in range(number):
        user = User.objects.create_superuser(f"{prefix}{place}")
        client = Client()
        client.force_login(user)
        sessions.append(client.cookies["sessionid"].value)
    labels = [{"name": "thing", "type": "rectangle"}]
    task = create_task(user, "Photograph", labels, [PHOTOGRAPHS / "coffee.png"])
    return task.pk, sessions


def add_function(port: int) -> None:
    """Register the slow function as an HTTP endpoint."""
    from cvat_lambda.functions.models import Function

    spec = '[{"name": "thing", "type": "rectangle"}]'
    metadata = {
        "metadata": {"name": "bench", "annotations": {"type": "detector", "spec": spec}},
        "spec": {"triggers": {"http": {"kind": "http", "numWorkers": 4}}},
    }
    values = {
        "platform": "endpoint",
        "endpoint_url": f"http://127.0.0.1:{port}",
        "metadata": metadata,
        "state": "ready",
    }
    Function.objects.update_or_create(id="bench", defaults=values)


@contextmanager
def web_processes(home: Path) -> Iterator[int]:
    """Start two web processes as the standalone server does. Yield their port."""
    from cvat_lambda.server.processes import Child, bound_socket, wait_for_answer
    from cvat_lambda.server.services import web_command

    with ExitStack() as stack, bound_socket() as listener:
        port = int(listener.getsockname()[1])
        for number in range(2):
            child = Child.start(
                f"web-{number}",
                web_command(listener.fileno(), threads=24),
                env=dict(os.environ),
                log=home / f"web-{number}.log",
                cwd=stand.REPOSITORY,
                keep_open=(listener.fileno(),),
            )
            stack.callback(child.stop)
        wait_for_answer(f"http://127.0.0.1:{port}/health", child=child)
        yield port
