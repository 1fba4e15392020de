"""Recovery after dead workers, a flushed Redis and a Redis that was down."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from typing import Any

import django_rq
import psutil
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from cvat_lambda import signals
from cvat_lambda.conf import settings as app_settings
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.standalone.access import StandaloneAccess
from cvat_lambda.functions.models import Function
from cvat_lambda.requests import rq_tasks
from cvat_lambda.requests.control import transitions
from cvat_lambda.requests.control.access import find_request
from cvat_lambda.requests.control.recover import Recovered, RecoveryThread, recover
from cvat_lambda.requests.control.retry import retry_request
from cvat_lambda.requests.run.lease import claim, requeue_shard
from cvat_lambda.requests.run.results import FrameResult
from cvat_lambda.requests.run.shard_context import load_run
from cvat_lambda.requests.run.writer import Writer
from cvat_lambda.requests.store import queue
from cvat_lambda.requests.store.models import Request, Shard
from cvat_lambda.server.processes import Child
from tests.waiting import wait_for

from .conftest import MakeTask, Start, job_of, run, waiting_jobs
from .function_server import FunctionServer, frame_of, rectangle_of


def age(seconds: float) -> None:
    """Set the last heartbeat of every shard to this number of seconds ago."""
    moment = timezone.now() - timedelta(seconds=seconds)
    Shard.objects.filter(status="started").update(heartbeat_at=moment)
    Shard.objects.filter(status="queued").update(enqueued_at=moment)


def test_rq_job_of_a_request_holds_only_an_id(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    shard = start(task_id=make_task(1).pk).shards.get()
    assert waiting_jobs() == [shard.rq_job_id]
    found = job_of(shard)
    assert (found.func_name, list(found.args)) == (queue.task_names().run_shard, [shard.pk])


def test_stalled_shard_is_resumed_with_the_frames_without_outcome(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(6)
    request = start(task_id=task.pk)
    shard = request.shards.get()
    dead = claim(shard.pk)
    assert dead is not None
    invoked = rq_tasks.work_of(load_run(dead))
    assert list(invoked.numbers()) == [0, 1, 2, 3, 4, 5]
    Writer(load_run(dead), wait=time.sleep).write(
        [FrameResult(frame=frame, status="done") for frame in (0, 3)]
    )
    age(app_settings.STALLED_AFTER_S + 1)
    assert recover() == Recovered(stalled=1)
    run(request)
    assert sorted(function.seen) == [1, 2, 4, 5]
    assert (request.status, request.done, request.resumes) == ("finished", 6, 1)


def test_shard_of_a_running_worker_is_not_requeued(
    finder: Function, make_task: MakeTask, start: Start, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_STALLED_AFTER_S = 3600.0
    shard = start(task_id=make_task(1).pk).shards.get()
    claim(shard.pk)
    assert recover() == Recovered()
    Shard.objects.update(worker="elsewhere:1")
    age(3 * app_settings.HEARTBEAT_S)  # slow, on a machine whose processes are unknown here
    assert recover() == Recovered()


@contextmanager
def clock_off_by(seconds: float) -> Iterator[None]:
    """Shift the clock of this process. Skip the test with SQLite, which runs on one machine."""
    if connection.vendor != "postgresql":
        pytest.skip("this database is one machine's")
    right = timezone.now
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timezone, "now", lambda: right() + timedelta(seconds=seconds))
        yield


def test_shard_of_a_worker_with_a_slow_clock_is_not_requeued(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    shard = start(task_id=make_task(1).pk).shards.get()
    with clock_off_by(-3600):
        lease = claim(shard.pk)
        Shard.objects.update(worker="elsewhere:1")
    assert recover() == Recovered()
    assert lease is not None
    with clock_off_by(-3600):
        lease.fence()
    assert recover() == Recovered()


def test_dead_worker_and_lost_job_are_found_with_a_fast_clock(
    finder: Function, make_task: MakeTask, start: Start, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_HEARTBEAT_S = settings.CVAT_LAMBDA_STALLED_AFTER_S = 0.0
    with clock_off_by(3600):
        first = start(task_id=make_task(1).pk)
        claim(first.shards.get().pk)
        Shard.objects.update(worker="elsewhere:1")
        start(task_id=make_task(1).pk)
    django_rq.get_connection("annotation").flushall()
    assert recover() == Recovered(stalled=1, lost=1)


def test_shard_of_a_worker_whose_process_ended_is_requeued_at_once(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    shard = start(task_id=make_task(1).pk).shards.get()
    claim(shard.pk)
    Shard.objects.update(worker=f"{socket.gethostname()}:{child}")
    age(3 * app_settings.HEARTBEAT_S)
    assert recover() == Recovered(stalled=1)


def test_shard_that_kills_every_worker_fails(
    finder: Function, make_task: MakeTask, start: Start, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_MAX_RESUMES = 2
    request = start(task_id=make_task(1).pk)
    shard = request.shards.get()
    found = []
    for _ in range(3):
        assert claim(shard.pk) is not None
        age(app_settings.STALLED_AFTER_S + 1)
        found.append(recover())
    assert found == [Recovered(stalled=1), Recovered(stalled=1), Recovered(given_up=1)]
    request.refresh_from_db()
    assert (request.status, request.error_code) == ("failed", "stalled")
    assert "stopped 3 times" in request.error_message
    assert run(retry_request(request)).status == "finished"


def test_shard_whose_worker_sends_a_heartbeat_again_does_not_fail(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    """The heartbeat comes between the query for stalled shards and the update."""
    request = start(task_id=make_task(1).pk)
    lease = claim(request.shards.get().pk)
    assert lease is not None
    age(app_settings.STALLED_AFTER_S + 1)
    seen = request.shards.get()
    lease.fence()
    transitions.fail_stalled(seen, "it stopped too often")
    assert request.shards.get().status == "started"
    transitions.fail_stalled(request.shards.get(), "it stopped too often")
    request.refresh_from_db()
    assert (request.status, request.error_code) == ("failed", "stalled")


def settle(shard_id: int, frames: range) -> None:
    """Claim a shard and write outcomes of frames, as a worker that is killed afterwards."""
    lease = claim(shard_id)
    assert lease is not None
    results = [FrameResult(frame=frame, status="done") for frame in frames]
    Writer(load_run(lease), wait=time.sleep).write(results)


def test_stall_after_progress_is_not_counted(
    finder: Function, make_task: MakeTask, start: Start, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_MAX_RESUMES = 1
    request = start(task_id=make_task(8).pk)
    shard = request.shards.get()
    for number in range(3):
        settle(shard.pk, range(2 * number, 2 * number + 2))
        age(app_settings.STALLED_AFTER_S + 1)
        assert recover() == Recovered(stalled=1)
    found = []
    for _ in range(2):
        claim(shard.pk)  # without any frame
        age(app_settings.STALLED_AFTER_S + 1)
        found.append(recover())
    assert found == [Recovered(stalled=1), Recovered(given_up=1)]
    request.refresh_from_db()
    assert (request.status, request.resumes, request.done) == ("failed", 4, 6)


def test_worker_that_gets_sigterm_requeues_its_shard(
    finder: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    settings: Settings,
) -> None:
    settings.CVAT_LAMBDA_MAX_RESUMES = 0
    main = threading.get_ident()
    first = threading.Lock()

    def behave(payload: dict[str, Any]) -> Any:
        if first.acquire(blocking=False):  # a second signal would interrupt the requeue
            signal.pthread_kill(main, signal.SIGINT)
        return rectangle_of(frame_of(payload))

    function.behave = behave
    request = start(task_id=make_task(30).pk)
    shard = request.shards.get()
    before = shard.rq_job_id
    with pytest.raises(KeyboardInterrupt):
        rq_tasks.run_shard(shard.pk)
    shard.refresh_from_db()
    assert (shard.status, shard.lease, shard.resumes) == ("queued", "", 0)
    assert waiting_jobs() == [shard.rq_job_id, before]
    run(request)
    assert (request.status, request.done, request.resumes) == ("finished", 30, 0)


def test_worker_whose_parent_alone_gets_sigterm_requeues_its_shard_at_once(
    finder: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    worker_process: Callable[..., Child],
) -> None:
    """RQ's parent waits for its job, so the shard was requeued only after its lease expired."""
    slow = threading.Event()

    def behave(payload: dict[str, Any]) -> Any:
        if not slow.is_set():
            time.sleep(0.3)
        return rectangle_of(frame_of(payload))

    function.behave = behave
    request = start(task_id=make_task(400).pk)
    worker = worker_process(CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS="127.0.0.1/32")

    wait_for("a done frame", lambda: Request.objects.get(pk=request.pk).done)
    os.kill(worker.process.pid, signal.SIGTERM)
    wait_for("the requeue", lambda: request.shards.get().status, lambda found: found == "queued")
    assert worker.process.wait(300) == 0
    shard = request.shards.get()
    assert (shard.lease, shard.resumes, shard.done < 400) == ("", 0, True)
    assert waiting_jobs() == [shard.rq_job_id]
    slow.set()
    worker_process(burst=True, CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS="127.0.0.1/32").process.wait(300)
    request.refresh_from_db()
    assert (request.status, request.done, request.resumes) == ("finished", 400, 0)
    assert len(get_engine().annotations(request.task_id or 0).shapes) == 400


def test_shard_that_is_requeued_while_redis_is_down_is_enqueued_later(
    finder: Function, make_task: MakeTask, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = start(task_id=make_task(1).pk)
    lease = claim(request.shards.get().pk)
    assert lease is not None
    queues = __import__("django.conf").conf.settings.RQ_QUEUES
    with monkeypatch.context() as patch:
        patch.setitem(queues["annotation"], "URL", "redis://127.0.0.1:1/0")
        requeue_shard(lease)
    assert recover() == Recovered(lost=1)


@pytest.mark.parametrize(
    "name",
    [
        "request_created",
        "request_started",
        "request_finished",
        "frames_written",
        "function_invoked",
    ],
)
def test_exception_of_a_signal_receiver_does_not_disturb_a_request(
    finder: Function, make_task: MakeTask, start: Start, name: str
) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("this receiver is broken")

    signal_of_ours = getattr(signals, name)
    signal_of_ours.connect(broken)
    try:
        request = run(start(task_id=make_task(2).pk))
    finally:
        signal_of_ours.disconnect(broken)
    assert (request.status, request.done) == ("finished", 2)


def test_shards_are_enqueued_again_after_redis_was_flushed(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    request = start(task_id=make_task(2).pk)
    django_rq.get_connection("annotation").flushall()
    assert recover() == Recovered()  # its RQ job may have been dequeued just now
    age(60)
    assert recover() == Recovered(lost=1)
    assert waiting_jobs() == [request.shards.get().rq_job_id]
    age(60)
    assert recover() == Recovered()  # its RQ job is in the queue


def test_recovery_reads_no_lists_of_frames_of_shards_that_wait(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    start(task_id=make_task(2).pk)
    age(60)
    with CaptureQueriesContext(connection) as queries:
        assert recover() == Recovered()
    (waiting,) = [query["sql"] for query in queries if "= 'queued'" in query["sql"]]
    assert '"frames"' not in waiting


def test_request_is_stored_while_redis_is_down(
    finder: Function, make_task: MakeTask, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        __import__("django.conf").conf.settings.RQ_QUEUES["annotation"],
        "URL",
        "redis://127.0.0.1:1/0",
    )
    request = start(task_id=make_task(1).pk)
    assert request.status == "queued"
    monkeypatch.undo()
    age(60)
    assert recover() == Recovered(lost=1)


def test_rq_job_that_is_delivered_twice_runs_once(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    request = run(start(task_id=make_task(2).pk))
    run(request)
    assert sorted(function.seen) == [0, 1]
    assert request.done == 2


def test_request_whose_shards_all_ended_is_ended_by_recovery(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    request = start(task_id=make_task(1).pk)
    Shard.objects.update(status="finished")
    assert recover() == Recovered(ended=1)
    request.refresh_from_db()
    assert request.status == "finished"


def test_recover_command_refuses_an_interval_of_zero_seconds(db: None) -> None:
    with pytest.raises(CommandError, match="--loop takes a number of seconds above 0"):
        call_command("recover_requests", "--loop", "0")


def test_recover_command_prints_what_it_found(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    shard = start(task_id=make_task(1).pk).shards.get()
    claim(shard.pk)
    age(app_settings.STALLED_AFTER_S + 1)
    out = StringIO()
    call_command("recover_requests", stdout=out)
    assert "1 stalled and 0 lost shards queued again" in out.getvalue()


def test_shard_of_a_worker_killed_by_sigkill_is_finished_by_another(
    finder: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    worker_process: Callable[..., Child],
) -> None:
    reached = threading.Event()

    def behave(payload: dict[str, Any]) -> Any:
        frame = frame_of(payload)
        if frame == 20:
            reached.set()
        return rectangle_of(frame)

    function.behave = behave
    task = make_task(60)
    request = start(task_id=task.pk)
    environment = {
        "CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS": "127.0.0.1/32",
        "CVAT_LAMBDA_FUNCTIONS_REFRESH_S": "0",
        "CVAT_LAMBDA_BATCH_FRAMES": "4",
    }
    first = worker_process(**environment)
    assert reached.wait(180), first.last_words()
    horses = psutil.Process(first.process.pid).children(recursive=True)
    first.signal(signal.SIGKILL)  # first, so that it does not see the end of its work horse
    for process in horses:
        process.kill()
    first.process.wait()
    age(app_settings.STALLED_AFTER_S + 1)
    recover()
    second = worker_process(burst=True, **environment)
    second.process.wait(300)
    request.refresh_from_db()
    assert (request.status, request.done) == ("finished", 60), second.last_words()
    shapes = get_engine().annotations(task.pk).shapes
    assert sorted(shape.frame for shape in shapes) == list(range(60))


def test_lost_request_finishes_after_a_worker_runs_another_shard(
    finder: Function,
    make_task: MakeTask,
    start: Start,
    access: StandaloneAccess,
    worker_process: Callable[..., Child],
) -> None:
    """A poll enqueues nothing. A worker recovers lost shards when it starts its next shard."""
    task = make_task(4)
    lost = start(task_id=task.pk, frames=[[0, 1]])
    django_rq.get_queue("annotation").empty()
    age(60)
    assert find_request(access, lost.pk).status == "queued"
    assert waiting_jobs() == []
    start(task_id=task.pk, frames=[[2, 3]])
    worker_process(CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS="127.0.0.1/32")
    wait_for(
        "the request",
        lambda: find_request(access, lost.pk).status,
        lambda found: found == "finished",
    )


def test_recovery_thread_of_a_worker_enqueues_a_lost_shard_again(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    request = start(task_id=make_task(1).pk)
    django_rq.get_queue("annotation").empty()
    age(60)
    thread = RecoveryThread(every_s=0.05)
    thread.start()
    try:
        jobs = wait_for("an RQ job", waiting_jobs)
    finally:
        thread.stop()
    assert jobs == [request.shards.get().rq_job_id]
