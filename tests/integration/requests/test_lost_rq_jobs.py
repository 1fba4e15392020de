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
from rq.job import Job

from cvat_lambda.functions.models import Function
from cvat_lambda.requests.control.recover import Recovered, recover
from cvat_lambda.requests.store import queue
from cvat_lambda.requests.store.models import Request, Shard
from cvat_lambda.server.processes import Child
from tests.waiting import wait_for

from .conftest import MakeTask, Start, job_of, run, waiting_jobs


def status_of(request: Request) -> object:
    return job_of(request.shards.get()).get_status()


@pytest.fixture
def stopped_at(
    spawn: Callable[..., Child], child_env: dict[str, str]
) -> Callable[..., psutil.Process]:
    """Return a function that starts a worker and waits until it has stopped at a job."""

    def start(name: str, request: Request) -> psutil.Process:
        command = [sys.executable, "manage.py", "rqworker", "annotation", "--skip-checks"]
        command.append("--worker-class")
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
    finder: Function, make_task: MakeTask, start: Start, stopped_at: Callable[..., psutil.Process]
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
    make_task: MakeTask,
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
    finder: Function, make_task: MakeTask, start: Start, stopped_at: Callable[..., psutil.Process]
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


def reads_of_redis(server: Any) -> int:
    """Return how often the Redis server has read from a connection."""
    return int(server.info("stats")["total_reads_processed"])


@pytest.mark.parametrize("state", ["waiting", "taken", "started"])
def test_recovery_asks_redis_for_many_jobs_at_once(
    finder: Function, make_task: MakeTask, start: Start, state: str
) -> None:
    """Redis was asked once or twice for each job that a worker had taken."""
    request = start(task_id=make_task(1).pk)
    first = request.shards.get()
    many = 200
    shards = Shard.objects.bulk_create(
        Shard(
            request=request,
            index=number + 1,
            task_id=first.task_id,
            frames=[[0, 0]],
            first_frame=0,
            last_frame=0,
            rq_job_id=queue.new_job_id(request.pk, number + 1),
        )
        for number in range(many)
    )
    assert queue.send(shards, meta={})
    server = job_of(first).connection
    for shard in shards if state == "started" else ():
        beat = timezone.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        values: dict[Any, Any] = {"status": "started", "worker_name": "w", "last_heartbeat": beat}
        server.hset(Job.key_for(shard.rq_job_id), mapping=values)
    if state != "waiting":
        server.delete("rq:queue:annotation")
    ids = [shard.rq_job_id for shard in shards]
    before = reads_of_redis(server)
    assert queue.lost_jobs(ids) == set()
    assert reads_of_redis(server) - before < many / 2
    for shard in shards[:3]:
        job_of(shard).delete()
    assert queue.lost_jobs(ids) == set(ids[:3])
