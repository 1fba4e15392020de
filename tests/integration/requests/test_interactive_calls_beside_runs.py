"""Interactive calls while requests in other processes use the same function."""

from __future__ import annotations

import collections
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import connection
from PIL import Image
from pytest_django import Settings

from cvat_lambda.functions import registry
from cvat_lambda.gateway.invoke_with_retries import invoke_with_retries
from cvat_lambda.gateway.payload import encode_payload
from cvat_lambda.requests.control.cancel import cancel_request
from cvat_lambda.requests.store.models import Request
from cvat_lambda.server.processes import Child
from tests.waiting import wait_for

from .conftest import MakeTask, Start, store_function
from .function_server import FunctionServer, rectangle_of

WORKER = {
    "CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS": "127.0.0.1/32",
    "CVAT_LAMBDA_FUNCTIONS_REFRESH_S": "0",
}


@dataclass
class Line:
    """A function with a number of workers. Invocations wait in a first-in, first-out queue."""

    workers: int
    latency_s: float
    persons_end: threading.Event | None = None  # interactive calls last until it is set
    lock: threading.Condition = field(default_factory=threading.Condition)
    waiting: collections.deque[object] = field(default_factory=collections.deque)
    running: int = 0
    before_people: list[int] = field(
        default_factory=list
    )  # number of invocations before each interactive call
    found: list[int] = field(default_factory=list)  # number of invocations at each background one

    def behave(self, payload: dict[str, Any]) -> Any:
        me = object()
        with self.lock:
            if "person" in payload:
                self.before_people.append(self.here)
            self.waiting.append(me)
            if "person" not in payload:
                self.found.append(self.here)
            self.lock.wait_for(lambda: self.waiting[0] is me and self.running < self.workers)
            self.waiting.popleft()
            self.running += 1
            self.lock.notify_all()
        try:
            if "person" in payload and self.persons_end is not None:
                self.persons_end.wait(120)
            else:
                time.sleep(self.latency_s)
        finally:
            with self.lock:
                self.running -= 1
                self.lock.notify_all()
        return rectangle_of(3)

    @property
    def here(self) -> int:
        return len(self.waiting) + self.running

    def found_by_the_next(self, calls: int) -> list[int]:
        """Return the number of invocations at each of the next background invocations."""
        seen = len(self.found)
        wait_for(
            "the next invocations", lambda: len(self.found), lambda found: found >= seen + calls
        )
        return self.found[seen : seen + calls]


@pytest.fixture
def line(transactional_db: None, function: FunctionServer) -> Callable[..., Line]:
    """Return a function that serves "finder" with a `Line`."""

    def make(workers: int, latency_s: float) -> Line:
        store_function(function.url, workers=workers)
        made = Line(workers=workers, latency_s=latency_s)
        function.behave = made.behave
        return made

    return make


def click() -> float:
    """MakeTask an interactive call. Return its duration."""
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    body = encode_payload({"person": 1}, {"image": picture.getvalue()})
    spec = registry.get("finder")
    connection.close()  # the call may run in a thread of the test
    began = time.monotonic()
    invoke_with_retries(spec, body, request_id="click")
    return time.monotonic() - began


@contextmanager
def running(request: Request, workers: int) -> Iterator[None]:
    """Wait until this number of shards runs. Cancel the request at the end of the block."""
    wait_for(
        "the shards", request.shards.filter(status="started").count, lambda found: found >= workers
    )
    try:
        yield
    finally:
        cancel_request(request)


@pytest.mark.parametrize("workers", [1, 4])
def test_call_waits_for_few_invocations_of_runs_in_other_processes(
    line: Callable[..., Line],
    make_task: MakeTask,
    start: Start,
    worker_process: Callable[..., Child],
    settings: Settings,
    workers: int,
) -> None:
    """Such a call took 4 s beside one worker process, and 10 s beside four."""
    function = line(workers=1, latency_s=0.6)
    settings.CVAT_LAMBDA_SHARD_FRAMES = 80 // workers
    request = start(task_id=make_task(80).pk)
    for _ in range(workers):
        worker_process(**WORKER)
    with running(request, workers):
        time.sleep(4.0)  # until the workers know how slow the function is
        for _ in range(4):
            click()
            time.sleep(0.3)
    # One invocation runs. A second one comes when another worker's slot rotates, and on a busy
    # machine one of each worker. A call of 4 s waited for seven, beside four workers for twelve.
    assert max(function.before_people) <= workers + 2, function.before_people


def test_run_leaves_a_worker_free_while_a_call_is_in_flight(
    line: Callable[..., Line],
    make_task: MakeTask,
    start: Start,
    worker_process: Callable[..., Child],
) -> None:
    function = line(workers=2, latency_s=0.04)
    request = start(task_id=make_task(600).pk)
    worker_process(**WORKER)
    with running(request, 1):
        wait_for("busy workers", lambda: max(function.found, default=0), lambda found: found >= 2)
        function.persons_end = threading.Event()
        clicking = threading.Thread(target=click)
        clicking.start()
        try:
            wait_for("the interactive call", lambda: function.before_people)
            # The interactive call and one background invocation remain, once the worker has
            # noticed the call and the waiting invocations have run.
            wait_for(
                "two invocations",
                lambda: set(function.found_by_the_next(20)),
                lambda found: found == {2},
            )
        finally:
            function.persons_end.set()
            clicking.join()


def test_two_worker_processes_share_a_functions_concurrency_limit(
    line: Callable[..., Line],
    make_task: MakeTask,
    start: Start,
    worker_process: Callable[..., Child],
    settings: Settings,
) -> None:
    """Each process used to have two more invocations in flight than the function has workers."""
    function = line(workers=2, latency_s=0.2)  # a busy machine sends invocations faster than this
    settings.CVAT_LAMBDA_SHARD_FRAMES = 300
    request = start(task_id=make_task(600).pk)
    for _ in range(2):
        worker_process(**WORKER)

    def is_shared(found: list[int]) -> bool:
        return max(found) <= 4 and sum(found) / len(found) > 2  # both of its workers are busy

    with running(request, 2):
        # The processes share the limit as soon as each has read the other's load.
        wait_for("a shared limit", lambda: function.found_by_the_next(20), is_shared)
