"""Everything is killed at random points, and the annotations are those of an undisturbed run.

The seed is fixed, so a failure comes again. ``CVAT_LAMBDA_TEST_FAULTS`` sets how many faults.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import django_rq
import psutil
import pytest
from django.db import connection
from redis.exceptions import RedisError

from cvat_lambda.conf import settings as app_settings
from cvat_lambda.engine.port import get_engine
from cvat_lambda.requests.models import Outcome, Provenance, Request
from cvat_lambda.requests.recovery import recover

from .conftest import run, store_function

REPOSITORY = Path(__file__).resolve().parents[3]
FRAMES = 160
FAULTS = int(os.environ.get("CVAT_LAMBDA_TEST_FAULTS", "8"))
BOUND_S = 240.0

Make = Callable[..., Any]
Start = Callable[..., Request]


@dataclass
class FunctionProcess:
    """The benchmark's function, in a process that can be killed and started again."""

    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.bench.latency_function", "--latency-ms", "20"]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=REPOSITORY,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def function_process() -> Iterator[FunctionProcess]:
    """A running function process."""
    process = FunctionProcess()
    process.start()
    yield process
    process.kill()


@dataclass
class World:
    """What can be broken, and how."""

    function: FunctionProcess
    start_worker: Callable[[], Any]
    dice: random.Random
    worker: Any = None
    broken: list[str] = field(default_factory=list)

    def ensure_worker(self) -> None:
        if self.worker is None or not self.worker.alive:
            self.worker = self.start_worker()

    def job(self) -> None:
        """Kill -9 the process that runs the shard."""
        for child in psutil.Process(self.worker.process.pid).children(recursive=True):
            child.kill()

    def whole_worker(self) -> None:
        """Kill -9 the worker with all its children."""
        self.job()
        self.worker.signal(signal.SIGKILL)
        self.worker.process.wait()

    def function_dies(self) -> None:
        """Kill the function under its calls; it comes back."""
        self.function.kill()
        self.function.start()

    def redis(self) -> None:
        """Redis forgets everything."""
        django_rq.get_connection(app_settings.QUEUE).flushall()

    def database(self) -> None:
        """Every other connection to the database is cut."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    def break_something(self) -> None:
        kinds = ["job", "job", "whole_worker", "function_dies", "redis"]
        if connection.vendor == "postgresql":
            kinds += ["database", "database"]
        kind = self.dice.choice(kinds)
        self.broken.append(kind)
        getattr(self, kind)()


def annotations_of(task_id: int) -> Counter[tuple[Any, ...]]:
    """What is there, without the ids."""
    return Counter(
        (shape.frame, shape.points, shape.source, shape.score)
        for shape in get_engine().annotations(task_id).shapes
    )


@pytest.mark.timeout(int(BOUND_S) + 60)
def test_nothing_is_lost_and_nothing_is_twice_whatever_dies(
    function_process: FunctionProcess,
    make_task: Make,
    start: Start,
    worker_process: Callable[..., Any],
    settings: Any,
) -> None:
    settings.CVAT_LAMBDA_HEARTBEAT_S = 0.3
    settings.CVAT_LAMBDA_MAX_RESUMES = 1000
    store_function(f"http://127.0.0.1:{function_process.port}/")
    undisturbed, task = make_task(FRAMES), make_task(FRAMES)
    assert run(start(task_id=undisturbed.pk)).status == "finished"

    environment = {
        "CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS": "127.0.0.1/32",
        "CVAT_LAMBDA_FUNCTIONS_REFRESH_S": "0",
        "CVAT_LAMBDA_HEARTBEAT_S": "0.3",
        "CVAT_LAMBDA_MAX_RESUMES": "1000",
        "CVAT_LAMBDA_BATCH_FRAMES": "7",
        "CVAT_LAMBDA_BATCH_S": "0.1",
        "CVAT_LAMBDA_COLD_START_S": "60",
    }
    world = World(function_process, lambda: worker_process(**environment), random.Random(20))
    points = sorted(world.dice.sample(range(1, FRAMES - 5), FAULTS))
    request = start(task_id=task.pk)
    end = time.monotonic() + BOUND_S
    while request.status in ("queued", "started"):
        assert time.monotonic() < end, (request.status, request.done, world.broken)
        world.ensure_worker()
        if points and Outcome.objects.filter(request=request).count() >= points[0]:
            del points[0]
            world.break_something()
        try:
            recover()
        except RedisError:
            pass
        time.sleep(0.02)
        request.refresh_from_db()
    assert request.status == "finished", (request.error_message, world.broken)
    assert (request.done, request.failed) == (FRAMES, 0), world.broken
    assert annotations_of(task.pk) == annotations_of(undisturbed.pk)
    assert request.shapes == Provenance.objects.filter(request=request).count() == 3 * FRAMES
    assert len(world.broken) + len(points) == FAULTS
