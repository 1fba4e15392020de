"""Cancel a request: nothing is written after it returns."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import django_rq
import pytest
from django.db import connection
from pytest_django import Settings

from cvat_lambda import signals
from cvat_lambda.engine import get_engine
from cvat_lambda.errors import StateConflict
from cvat_lambda.functions.models import Function
from cvat_lambda.requests import rq_tasks
from cvat_lambda.requests.control import transitions
from cvat_lambda.requests.control.cancel import cancel_request
from cvat_lambda.requests.control.retry import resume_request, retry_request
from cvat_lambda.requests.control.undo import undo_request
from cvat_lambda.requests.run.lease import LeaseLost, claim
from cvat_lambda.requests.run.results import FrameResult
from cvat_lambda.requests.run.shard_context import load_run
from cvat_lambda.requests.run.writer import Writer
from cvat_lambda.requests.store.models import FrameStatus, Outcome, Provenance, Request, Shard
from tests.waiting import wait_for

from .conftest import MakeTask, Start, run
from .function_server import FunctionServer, frame_of, rectangle_of


def in_thread(shard_id: int) -> threading.Thread:
    """Run a shard in a thread, as another worker."""

    def work() -> None:
        try:
            rq_tasks.run_shard(shard_id)
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_cancel_while_invocations_are_in_flight_stops_at_once_and_writes_nothing(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    arrived, release = threading.Event(), threading.Event()

    def slow(payload: dict[str, Any]) -> Any:
        arrived.set()
        release.wait(300)
        return rectangle_of(frame_of(payload))

    function.behave = slow
    task = make_task(6)
    request = start(task_id=task.pk)
    worker = in_thread(request.shards.get().pk)
    try:
        assert arrived.wait(180)
        cancel_request(request)
        assert request.status == "cancelled"
        worker.join(60)  # much shorter than the calls would take
        assert not worker.is_alive()
    finally:
        release.set()
        worker.join()
    request.refresh_from_db()
    assert (request.status, request.done) == ("cancelled", 0)
    assert get_engine().annotations(task.pk).shapes == ()
    assert not Outcome.objects.exists()


def test_cancel_keeps_what_was_written_before(
    finder: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    settings: Settings,
) -> None:
    settings.CVAT_LAMBDA_BATCH_FRAMES = 2
    release = threading.Event()

    def slow_from_five(payload: dict[str, Any]) -> Any:
        if frame_of(payload) >= 5:
            release.wait(300)
        return rectangle_of(frame_of(payload))

    function.behave = slow_from_five
    task = make_task(12)
    request = start(task_id=task.pk)
    worker = in_thread(request.shards.get().pk)
    try:
        wait_for("four outcomes", Outcome.objects.count, lambda found: found >= 4)
        cancel_request(request)
        worker.join(60)
        assert not worker.is_alive()
    finally:
        release.set()
        worker.join()
    request.refresh_from_db()
    shapes = get_engine().annotations(task.pk).shapes
    assert request.status == "cancelled"
    assert len(shapes) == request.done == Outcome.objects.count() >= 4
    assert undo_request(request) == len(shapes)
    assert get_engine().annotations(task.pk).shapes == ()


def test_cancel_of_a_queued_request_never_starts_it(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    request = start(task_id=make_task(2).pk)
    cancel_request(request)
    run(request)
    assert (request.status, function.seen) == ("cancelled", [])


def test_request_after_a_cancel_runs_with_its_own_parameters(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(2)
    old = start(task_id=task.pk, threshold=0.1)
    cancel_request(old)
    new = run(start(task_id=task.pk, threshold=0.7))
    run(old)
    assert (old.status, new.status) == ("cancelled", "finished")
    assert function.payloads == [{"threshold": 0.7}, {"threshold": 0.7}]


def test_batch_of_a_worker_without_lease_is_rolled_back(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(2)
    request = start(task_id=task.pk)
    lease = claim(request.shards.get().pk)
    assert lease is not None
    writer = Writer(load_run(lease), wait=time.sleep)
    Shard.objects.update(lease="another worker's")
    with pytest.raises(LeaseLost):
        writer.write([FrameResult(frame=0, status=FrameStatus.DONE)])
    with pytest.raises(LeaseLost):
        transitions.finish_shard(lease)
    assert not Outcome.objects.exists()
    request.refresh_from_db()
    assert (request.status, request.done) == ("started", 0)


def test_cancel_with_undo_removes_what_was_added(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(3)
    request = run(start(task_id=task.pk))
    cancel_request(request, undo=True)
    assert get_engine().annotations(task.pk).shapes == ()
    assert request.status == "finished"  # the request keeps its status from before the cancel
    assert request.undone_at is not None
    assert not Provenance.objects.exists()


def test_retry_of_an_undone_request_is_refused(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    request = cancel_request(start(task_id=make_task(2).pk), undo=True)
    with pytest.raises(StateConflict, match="undone"):
        retry_request(request)


def test_undo_of_a_running_request_is_refused(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    request = start(task_id=make_task(1).pk)
    with pytest.raises(StateConflict, match="cancel it first"):
        undo_request(request)


def test_retry_of_a_request_without_frames_to_run_is_refused(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(1)
    request = start(task_id=task.pk)
    with pytest.raises(StateConflict, match="queued"):
        retry_request(request)
    cancel_request(request)
    done = run(start(task_id=task.pk))
    with pytest.raises(StateConflict, match="no failed frames"):
        retry_request(done)


def test_cancel_of_a_queued_request_deletes_its_rq_job(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    """Redis keeps jobs that were only removed from the queue. Only ended jobs expire."""
    redis = django_rq.get_connection("annotation")
    task = make_task(2)
    cancel_request(start(task_id=task.pk))
    assert django_rq.get_queue("annotation").job_ids == []
    assert redis.keys("rq:job:*") == []


def test_cancel_of_a_request_whose_rq_job_was_deleted_succeeds(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    request = start(task_id=make_task(1).pk)
    django_rq.get_connection("annotation").flushall()
    assert cancel_request(request).status == "cancelled"


@pytest.mark.parametrize("reopen", [retry_request, resume_request])
def test_retry_or_resume_of_a_cancelled_request_runs_the_frames_without_outcome(
    reopen: Callable[[Request], Request],
    finder: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    settings: Settings,
) -> None:
    """Such a retry used to be refused, so that only a new request could run the frames."""
    settings.CVAT_LAMBDA_BATCH_FRAMES = 1
    task = make_task(6)
    request = start(task_id=task.pk)

    def cancel_after_some(**_: Any) -> None:
        if Request.objects.get(pk=request.pk).done >= 2:
            transitions.cancel(request.pk)

    signals.frames_written.connect(cancel_after_some)
    try:
        run(request)
    finally:
        signals.frames_written.disconnect(cancel_after_some)
    request.refresh_from_db()
    done = request.done
    assert (request.status, 2 <= done < 6) == ("cancelled", True)
    function.seen.clear()
    request = run(reopen(request))
    assert (request.status, request.done, len(function.seen)) == ("finished", 6, 6 - done)
    assert len(get_engine().annotations(task.pk).shapes) == 6
