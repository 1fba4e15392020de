"""RQ jobs whose worker was killed before it claimed the shard are enqueued again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psutil
import pytest
from django.utils import timezone
from rq import Worker

from cvat_lambda.functions.models import Function
from cvat_lambda.requests.control.recover import Recovered, recover
from cvat_lambda.requests.store import queue
from cvat_lambda.requests.store.models import Request, Shard
from cvat_lambda.server.processes import Child
from tests.waiting import wait_for

from .conftest import job_of, run, waiting_jobs

Make = Callable[..., Any]
Start = Callable[..., Request]


def status_of(request: Request) -> object:
    return job_of(request.shards.get()).get_status()


@pytest.fixture
def stopped_at(
    spawn: Callable[..., Child], child_env: dict[str, str]
) -> Callable[..., psutil.Process]:
    """Return a function that starts a worker and waits until it has stopped at a job."""

    def start(name: str, request: Request) -> psutil.Process:
        command = [sys.executable, "manage.py", "rqworker", "annotation", "--worker-class"]
        command.append(f"tests.integration.requests.stopping_worker.{name}")
        worker = psutil.Process(spawn("worker", command, child_env).process.pid)
        wait_for("an empty queue", waiting_jobs, lambda found: found == [])
        wait_for("a work horse", worker.children)
        if name == "StopsAfterTheStart":
            wait_for("the job", lambda: status_of(request), lambda found: found == "started")
        Shard.objects.update(enqueued_at=timezone.now() - timedelta(seconds=60))
        return worker

    return start


def kill(worker: psutil.Process) -> None:
    """Kill a worker and its work horse, as the kernel does when it is out of memory.

    The worker is killed first. It would mark the job as failed if it saw the end of its work horse.
    """
    for process in (worker, *worker.children(recursive=True)):
        process.kill()
    worker.wait()


def test_shard_whose_worker_was_killed_after_its_job_started_is_requeued(
    finder: Function, make_task: Make, start: Start, stopped_at: Callable[..., psutil.Process]
) -> None:
    """It stayed queued until RQ's maintenance found the job, which may never happen."""
    request = start(task_id=make_task(2).pk)
    worker = stopped_at("StopsAfterTheStart", request)
    assert recover() == Recovered()  # the worker is alive and may still claim the shard
    kill(worker)
    assert recover() == Recovered(lost=1)
    assert waiting_jobs() == [request.shards.get().rq_job_id]
    assert run(request).status == "finished"


def test_shard_whose_worker_was_killed_before_its_job_started_is_requeued(
    finder: Function,
    make_task: Make,
    start: Start,
    stopped_at: Callable[..., psutil.Process],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A job that was neither queued nor started was never requeued."""
    request = start(task_id=make_task(2).pk)
    kill(stopped_at("StopsBeforeTheStart", request))
    assert status_of(request) == "queued"
    assert waiting_jobs() == []
    assert recover() == Recovered()  # a worker may have dequeued it just now
    monkeypatch.setattr(queue, "TAKEN_AFTER_S", 0.0)
    assert recover() == Recovered(lost=1)
    assert waiting_jobs() == [request.shards.get().rq_job_id]


def test_shard_of_a_silent_worker_on_another_machine_is_requeued(
    finder: Function, make_task: Make, start: Start, stopped_at: Callable[..., psutil.Process]
) -> None:
    request = start(task_id=make_task(2).pk)
    worker = stopped_at("StopsAfterTheStart", request)
    job = job_of(request.shards.get())
    key = f"{Worker.redis_worker_namespace_prefix}{job.worker_name}"
    job.connection.hset(key, "hostname", "elsewhere")
    kill(worker)
    assert recover() == Recovered()
    beat = timezone.now() - timedelta(seconds=queue.SILENT_AFTER_S + 1)
    job.connection.hset(job.key, "last_heartbeat", beat.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    assert recover() == Recovered(lost=1)
