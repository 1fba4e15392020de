"""Failed frames, unavailable functions, and runs that end early."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django import Settings
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty

from cvat_lambda.annotations.types import LabeledData, Shape
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Change
from cvat_lambda.engine.standalone.tasks import delete_task
from cvat_lambda.functions import registry
from cvat_lambda.functions.models import Function
from cvat_lambda.gateway.cancel import Cancelled, CancelToken
from cvat_lambda.requests.control.retry import retry_request
from cvat_lambda.requests.run.detect import DetectWork
from cvat_lambda.requests.run.invoker import Invoker
from cvat_lambda.requests.run.lease import LeaseLost, claim
from cvat_lambda.requests.run.shard_context import load_run
from cvat_lambda.requests.store.models import Outcome, Provenance
from tests.http_server import Reply
from tests.ports import closed_port
from tests.waiting import wait_for

from .conftest import MakeTask, Start, run, store_function
from .function_server import FunctionServer, frame_of, rectangle_of

RAISED = Reply(status=500, body=b'Exception caught in handler - "the lens is dirty": Traceback')


def draw(task_id: int, frames: range) -> None:
    """Add manual shapes to frames."""
    label = get_engine().task(task_id).labels[0]
    shapes = tuple(
        Shape(
            type="rectangle",
            frame=frame,
            label_id=label.id or 0,
            points=(1, 2, 3, 4),
            source="manual",
        )
        for frame in frames
    )
    with get_engine().atomic():
        get_engine().apply(
            Change(task_id=task_id, frames=tuple(frames), add=LabeledData(shapes=shapes))
        )


def test_failed_frame_stores_its_cause_and_the_others_are_done(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(6)
    function.behave = lambda payload: (
        RAISED if frame_of(payload) == 3 else rectangle_of(frame_of(payload))
    )
    request = run(start(task_id=task.pk))
    assert (request.status, request.done, request.failed) == ("finished", 5, 1)
    row = Outcome.objects.get(request=request, status="failed")
    assert (row.frame, row.code, row.attempts) == (3, "function_failed", 1)
    assert "the lens is dirty" in row.message
    assert len(get_engine().annotations(task.pk).shapes) == 5


@pytest.mark.parametrize(
    "body",
    [
        b"1" + b"0" * 400,  # an integer outside the range of floats
        b"1e999",
        rb'"\ud800"',
        b"[" * 900 + b"]" * 900,
    ],
)
def test_malformed_number_leaves_out_its_item_and_fails_neither_frame_nor_request(
    function: FunctionServer, transactional_db: None, make_task: MakeTask, start: Start, body: bytes
) -> None:
    store_function(function.url, max_image_side="32")  # the results must be scaled

    numbers = itertools.count()  # of the invocations, of which several run at once

    def answer(payload: dict[str, Any]) -> Any:
        if next(numbers) == 1:
            item = b'{"label": "car", "type": "rectangle", "points": [1, 2, 3, 4]}'
            bad = b'{"label": "car", "type": "rectangle", "points": [1, 2, 3, %s]}' % body
            return Reply(body=b"[%s,%s]" % (bad, item))
        return [{"label": "car", "type": "rectangle", "points": [1, 2, 3, 4]}]

    function.behave = answer
    request = run(start(task_id=make_task(4).pk))
    assert (request.status, request.done, request.failed) == ("finished", 4, 0)
    assert len(get_engine().annotations(request.task_id or 0).shapes) == 4
    assert request.dropped == 1


class Broken(DetectWork):
    """A run whose code raises an unexpected exception for one frame."""

    def results(self, unit: Any, sent: Any, answered: Any) -> Any:
        if unit.numbers == (1,):
            raise self.error
        return super().results(unit, sent, answered)

    error: Exception = RuntimeError("surprise")


@pytest.mark.parametrize(
    "error", [RuntimeError("a"), OverflowError("b"), RecursionError("c"), MemoryError(), OSError()]
)
def test_unexpected_exception_fails_its_frame_and_not_the_request(
    finder: Function, make_task: MakeTask, start: Start, error: Exception, function: FunctionServer
) -> None:
    request = start(task_id=make_task(3).pk)
    lease = claim(request.shards.get().pk)
    assert lease is not None
    loaded = load_run(lease)
    work = Broken(loaded)
    work.error = error
    invoker = Invoker(loaded, work, CancelToken())
    units = list(work.units(get_engine().frames(loaded.task.id, [0, 1, 2])))
    results = [result for unit in units for result in invoker.invoke(unit)]  # type: ignore[arg-type]
    assert [(result.frame, result.status) for result in results] == [
        (0, "done"),
        (1, "failed"),
        (2, "done"),
    ]
    assert results[1].code == "error"
    assert "internal error on frame 1" in results[1].message


@pytest.mark.parametrize(
    "error", [Cancelled(), LeaseLost("r"), OperationalError("away"), KeyboardInterrupt()]
)
def test_exception_that_ends_the_run_fails_no_frame(
    finder: Function,
    make_task: MakeTask,
    start: Start,
    error: BaseException,
    function: FunctionServer,
) -> None:
    request = start(task_id=make_task(2).pk)
    lease = claim(request.shards.get().pk)
    assert lease is not None
    loaded = load_run(lease)
    work = Broken(loaded)
    work.error = error  # type: ignore[assignment]
    units = list(work.units(get_engine().frames(loaded.task.id, [1])))
    with pytest.raises(type(error)):
        Invoker(loaded, work, CancelToken()).invoke(units[0])  # type: ignore[arg-type]


def test_invocation_of_a_busy_function_is_retried_until_it_answers(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    refused: set[int] = set()

    def refuse_once(payload: dict[str, Any]) -> Any:
        frame = frame_of(payload)
        if frame not in refused:
            refused.add(frame)
            return Reply(status=503)
        return rectangle_of(frame)

    function.behave = refuse_once
    request = run(start(task_id=make_task(4).pk))
    assert (request.status, request.done) == ("finished", 4)
    assert set(Outcome.objects.values_list("attempts", flat=True)) == {
        1
    }  # a busy answer is not a run


def test_provenance_of_a_shape_names_the_version_of_the_function(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    function.behave = lambda payload: (
        Reply(status=500, body=b'Exception caught in handler - "no"')
        if frame_of(payload) == 1
        else rectangle_of(frame_of(payload))
    )
    request = run(start(task_id=make_task(3).pk))
    assert request.function_version == 1
    finder.metadata["metadata"]["annotations"]["version"] = "7"
    finder.version, finder.revision, finder.changed_at = 7, "new", timezone.now()
    finder.save()
    function.behave = lambda payload: rectangle_of(frame_of(payload))
    run(retry_request(request))
    spec = registry.get("finder")
    assert (request.function_version, request.function_revision) == (7, spec.revision)
    for table in (Outcome, Provenance):
        rows = table.objects.filter(request=request).order_by("frame")
        assert list(rows.values_list("frame", "version__version")) == [(0, 1), (1, 7), (2, 1)]
    made = Outcome.objects.get(request=request, frame=1).version
    assert made is not None
    assert (made.function_id, made.revision) == ("finder", spec.revision)


def test_retry_runs_the_failed_frames_only(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(5)
    function.behave = lambda payload: (
        RAISED if frame_of(payload) in (1, 4) else rectangle_of(frame_of(payload))
    )
    request = run(start(task_id=task.pk))
    assert (request.done, request.failed) == (3, 2)
    function.behave = lambda payload: rectangle_of(frame_of(payload))
    function.seen.clear()
    run(retry_request(request))
    assert sorted(function.seen) == [1, 4]
    assert (request.status, request.done, request.failed) == ("finished", 5, 0)
    assert len(get_engine().annotations(task.pk).shapes) == 5


def test_run_with_too_many_failures_ends_early_and_keeps_its_outcomes(
    finder: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    settings: Settings,
) -> None:
    settings.CVAT_LAMBDA_MIN_FRAMES_FOR_FAILURE_RATE = 4
    settings.CVAT_LAMBDA_BATCH_FRAMES = 4
    function.behave = lambda payload: RAISED
    request = run(start(task_id=make_task(200).pk, max_failure_rate=0.25))
    assert (request.status, request.error_code) == ("failed", "too_many_failures")
    assert "more than the limit of 25%" in request.error_message
    assert 4 <= request.failed < 100
    assert Outcome.objects.filter(request=request, status="failed").count() == request.failed


@pytest.mark.parametrize("at", [0, 10, 39])
def test_request_whose_task_is_deleted_during_the_run_fails(
    finder: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    settings: Settings,
    at: int,
) -> None:
    """The request used to finish, after each of its frames had failed."""
    settings.CVAT_LAMBDA_BATCH_FRAMES = 2
    task = make_task(40)

    def behave(payload: dict[str, Any]) -> Any:
        if frame_of(payload) == at:
            try:
                delete_task(task)
            finally:
                connection.close()  # of this thread of the server
        return rectangle_of(frame_of(payload))

    function.behave = behave
    request = run(start(task_id=(number := task.pk)))
    assert (request.status, request.error_code) == ("failed", "task_not_found")
    assert request.error_message == f"task #{number} was not found"
    assert request.failed == 0


def test_request_whose_frames_all_fail_is_failed(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    function.behave = lambda payload: RAISED
    request = run(start(task_id=make_task(2).pk))
    assert (request.status, request.error_code) == ("failed", "function_failed")
    assert request.error_message.startswith("All 2 frames failed. Frame 0:")


@pytest.mark.parametrize("replace", ["all", "automatic", "function"])
def test_function_that_is_down_from_the_start_deletes_nothing(
    transactional_db: None, make_task: MakeTask, start: Start, settings: Settings, replace: str
) -> None:
    settings.CVAT_LAMBDA_COLD_START_S = 1.0
    store_function(f"http://127.0.0.1:{closed_port()}/")
    task = make_task(3)
    draw(task.pk, range(3))
    request = run(start(task_id=task.pk, replace=replace))
    assert request.status == "failed"
    assert request.error_code in ("platform_unreachable", "function_unavailable")
    assert "127.0.0.1" not in request.error_message
    assert len(get_engine().annotations(task.pk).shapes) == 3


def test_answer_that_is_not_a_list_fails_its_frame_only(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    function.behave = lambda payload: (
        {"label": "car", "type": "rectangle", "points": [1, 2, 3, 4]}
        if frame_of(payload) == 0
        else rectangle_of(frame_of(payload))
    )
    request = run(start(task_id=make_task(3).pk))
    assert (request.status, request.done, request.failed) == ("finished", 2, 1)
    row = Outcome.objects.get(request=request, status="failed")
    assert row.code == "function_answer_invalid"
    assert "frame 0" in row.message
    assert "finder" in row.message


def test_frame_with_a_broken_file_fails_alone(
    finder: Function, make_task: MakeTask, start: Start, media_root: Path
) -> None:
    task = make_task(4)
    victim = sorted(media_root.rglob("000002.png"))[0]
    victim.unlink()
    request = run(start(task_id=task.pk))
    assert (request.status, request.done, request.failed) == ("finished", 3, 1)
    row = Outcome.objects.get(request=request, status="failed")
    assert (row.frame, row.attempts) == (2, 0)


def test_timeout_of_one_frame_and_the_restart_after_it_do_not_end_the_request(
    finder: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    settings: Settings,
) -> None:
    settings.CVAT_LAMBDA_COLD_START_S = 4.0
    replies = iter([Reply(status=408), Reply(status=503, body=b'{"error":"Server not ready"}')])

    def behave(payload: dict[str, Any]) -> Any:
        frame = frame_of(payload)
        reply = next(replies, None) if frame == 3 else None
        if reply is not None and reply.status == 408:
            time.sleep(4.3)  # longer than the budget for attempts that do not run
        return reply or rectangle_of(frame)

    function.behave = behave
    request = run(start(task_id=make_task(12).pk))
    assert (request.status, request.done, request.failed) == ("finished", 12, 0)
    assert Outcome.objects.get(request=request, frame=3).attempts == 2


def test_frame_that_finds_the_function_unavailable_fails_alone_if_others_were_answered(
    finder: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    settings: Settings,
) -> None:
    settings.CVAT_LAMBDA_COLD_START_S = 3.0
    asked, answered = itertools.count(), threading.Semaphore(0)

    def behave(payload: dict[str, Any]) -> Any:
        if frame_of(payload) == 3:
            if next(asked) == 1:  # the function was unavailable, but has answered others since
                for _ in range(8):
                    assert answered.acquire(timeout=180)
            return Reply(status=503, body=b'{"error":"Server not ready"}')
        time.sleep(0.1)
        answered.release()
        return rectangle_of(frame_of(payload))

    function.behave = behave
    request = run(start(task_id=make_task(80).pk))
    assert (request.status, request.done, request.failed) == ("finished", 79, 1)
    row = Outcome.objects.get(request=request, status="failed")
    assert (row.frame, row.code) == (3, "function_unavailable")


def test_function_that_is_unavailable_for_every_frame_fails_the_request(
    transactional_db: None,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    settings: Settings,
) -> None:
    store_function(function.url, workers=8)  # frames that wait below leave slots for the first five
    settings.CVAT_LAMBDA_COLD_START_S = 0.5
    settings.CVAT_LAMBDA_BATCH_FRAMES = 1

    def behave(payload: dict[str, Any]) -> Any:
        if frame_of(payload) < 5:
            return rectangle_of(frame_of(payload))
        wait_for_outcomes(5)  # no frame is answered after the first failure
        return Reply(status=503, body=b'{"error":"Server not ready"}')

    function.behave = behave
    request = run(start(task_id=make_task(40).pk))
    assert (request.status, request.error_code) == ("failed", "function_unavailable")
    assert (request.done, request.failed) == (5, 0)


def wait_for_outcomes(number: int) -> None:
    """Wait in a thread of the function until this number of frames has outcomes."""
    try:
        wait_for(f"{number} outcomes", Outcome.objects.count, lambda found: found >= number)
    finally:
        connection.close()


@pytest.mark.parametrize(
    "refusal",
    [
        Reply(status=503, headers={"Retry-After": "3"}),
        Reply(status=503, body=b'{"error":"Server not ready"}', headers={"Retry-After": "3"}),
        Reply(status=502, headers={"Retry-After": "3"}),
        Reply(status=504, headers={"Retry-After": "3"}),
    ],
    ids=["busy", "not ready", "502", "504"],
)
def test_retry_after_of_a_function_is_honoured(
    finder: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    settings: Settings,
    refusal: Reply,
) -> None:
    """The wait may be longer than the budget. Other frames must not invoke the function either."""
    settings.CVAT_LAMBDA_COLD_START_S = 2.5
    in_flight = threading.Barrier(
        2, timeout=180
    )  # as many invocations as are admitted before the first answer
    numbers = itertools.count()
    refused_at: list[float] = []
    asked_at: list[float] = []

    def behave(payload: dict[str, Any]) -> Any:
        if next(numbers) < 2:
            in_flight.wait()
            refused_at.append(time.monotonic())
            return refusal
        asked_at.append(time.monotonic())
        return rectangle_of(frame_of(payload))

    function.behave = behave
    request = run(start(task_id=make_task(8).pk))
    assert (request.status, request.done) == ("finished", 8)
    assert min(asked_at) >= min(refused_at) + 3.0


def test_request_fails_without_waiting_for_a_retry_after_of_days(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    function.behave = lambda payload: Reply(status=503, headers={"Retry-After": "400000"})
    request = run(start(task_id=make_task(8).pk))
    assert (request.status, request.failed) == ("failed", 8)


def test_run_that_reaches_the_time_limit_of_its_job_fails_and_a_retry_runs_the_other_frames(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    passed, end = threading.Event(), threading.Event()

    def behave(payload: dict[str, Any]) -> Any:
        if frame_of(payload) >= 3 and not end.is_set():
            if not passed.is_set():
                passed.set()
                os.kill(os.getpid(), signal.SIGALRM)  # as RQ's alarm clock does
            assert end.wait(180)
        return rectangle_of(frame_of(payload))

    function.behave = behave
    task = make_task(8)
    request = start(task_id=task.pk)
    try:
        with UnixSignalDeathPenalty(3600, JobTimeoutException):
            run(request)
    finally:
        end.set()
    assert (request.status, request.error_code) == ("failed", "time_limit")
    assert request.error_message == (
        "the run took longer than 86400 s; retry the request to continue it"
    )
    run(retry_request(request))
    request.refresh_from_db()
    assert (request.status, request.done) == ("finished", 8)
    shapes = get_engine().annotations(task.pk).shapes
    assert sorted(shape.frame for shape in shapes) == list(range(8))
