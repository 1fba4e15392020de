"""Helper processes, which a worker starts while its own processor time limits a request.

The share of a core is 0 in most tests, so that a worker starts a helper in any case.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psutil
import pytest
from pytest_django import Settings

from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Frame
from cvat_lambda.functions.models import Function
from cvat_lambda.requests.control.cancel import cancel_request
from cvat_lambda.requests.control.recover import recover
from cvat_lambda.requests.rq_tasks import work_of
from cvat_lambda.requests.run.divide import FrameCursor, split_off
from cvat_lambda.requests.run.helper_processes import HelperProcesses, most_helpers
from cvat_lambda.requests.run.lease import LeaseLost, claim
from cvat_lambda.requests.run.shard_context import load_run
from cvat_lambda.requests.store.models import Request
from cvat_lambda.server.processes import Child
from tests.waiting import has_ended, wait_for

from .conftest import MakeTask, Start, run, store_function, waiting_jobs
from .function_server import FunctionServer, frame_of, rectangle_of

FRAMES = 40
LAST_FRAMES = 25  # the worker reads fewer ahead, and a helper gets fewer than these
WORKER = {
    "CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS": "127.0.0.1/32",
    "CVAT_LAMBDA_FUNCTIONS_REFRESH_S": "0",
    "CVAT_LAMBDA_HEARTBEAT_S": "0.3",
    "CVAT_LAMBDA_HELPER_PROCESSES": "1",  # a machine may have more cores than two
    "CVAT_LAMBDA_HELPER_PROCESSOR_SHARE": "0",
    "CVAT_LAMBDA_HELPER_MIN_REMAINING_S": "0",
}
needs_two_cores = pytest.mark.skipif(most_helpers() < 1, reason="a helper needs a second core")


class Gates:
    """A function whose first and last frames wait until a test opens their gate."""

    def __init__(self) -> None:
        self.first, self.last, self.last_called = (threading.Event() for _ in range(3))

    def behave(self, payload: dict[str, Any]) -> Any:
        frame = frame_of(payload)
        if frame < LAST_FRAMES:
            assert self.first.wait(240)
        else:
            self.last_called.set()
            assert self.last.wait(240)
        return rectangle_of(frame)

    def open(self) -> None:
        self.first.set()
        self.last.set()


@pytest.fixture
def gates(finder: Function, function: FunctionServer) -> Iterator[Gates]:
    """The gates of the function "finder"."""
    gates = Gates()
    function.behave = gates.behave
    yield gates
    gates.open()


@pytest.fixture
def divided(
    gates: Gates, make_task: MakeTask, start: Start, worker_process: Callable[..., Child]
) -> tuple[Request, Child]:
    """A request whose last frames a helper runs, while all frames wait; and its worker."""
    request = start(task_id=make_task(FRAMES).pk)
    worker = worker_process(**WORKER)
    assert gates.last_called.wait(240)
    return request, worker


def helpers_of(worker: Child) -> list[psutil.Process]:
    children = psutil.Process(worker.process.pid).children(recursive=True)
    return [child for child in children if "cvat_lambda.requests.helper" in child.cmdline()]


def children_with(command: Sequence[str]) -> list[psutil.Process]:
    """Return the child processes of this one that run a command."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it has ended
            if child.cmdline() == list(command):
                found.append(child)
    return found


def ended(request: Request) -> bool:
    recover()
    request.refresh_from_db()
    return request.status not in ("queued", "started")


def assert_each_frame_was_written_once(request: Request) -> None:
    assert (request.status, request.done, request.failed) == ("finished", FRAMES, 0)
    assert request.task_id is not None
    shapes = get_engine().annotations(request.task_id).shapes
    assert sorted(shape.frame for shape in shapes) == list(range(FRAMES))
    for shard in request.shards.all():
        assert (shard.status, shard.done) == ("finished", shard.total)


def frames_of_shards(request: Request) -> list[Any]:
    return list(request.shards.order_by("index").values_list("frames", flat=True))


@needs_two_cores
def test_helper_process_runs_the_last_frames_beside_the_worker(
    gates: Gates, divided: tuple[Request, Child]
) -> None:
    request, worker = divided
    [helper] = helpers_of(worker)
    first, second = request.shards.order_by("index")
    assert second.worker.endswith(f":{helper.pid}")
    assert first.worker != second.worker
    assert first.total + second.total == FRAMES
    gates.open()
    wait_for("the end of the request", lambda: ended(request), timeout_s=240)
    assert_each_frame_was_written_once(request)
    wait_for("the end of the helper", lambda: has_ended(helper))


@needs_two_cores
def test_killed_helper_process_loses_no_frame(gates: Gates, divided: tuple[Request, Child]) -> None:
    request, worker = divided
    [helper] = helpers_of(worker)
    helper.kill()
    gates.open()
    wait_for("the end of the request", lambda: ended(request), timeout_s=240)
    assert_each_frame_was_written_once(request)
    assert request.resumes == 1


@needs_two_cores
def test_helper_process_ends_when_the_process_of_the_run_is_killed(
    gates: Gates, divided: tuple[Request, Child]
) -> None:
    request, worker = divided
    [helper] = helpers_of(worker)
    process = helper.parent()
    assert process is not None
    process.kill()
    wait_for("the end of the helper", lambda: has_ended(helper))
    gates.open()
    wait_for("the end of the request", lambda: ended(request), timeout_s=240)
    assert_each_frame_was_written_once(request)


@needs_two_cores
def test_stopped_worker_returns_the_shards_of_its_helpers_to_the_queue(
    gates: Gates, divided: tuple[Request, Child]
) -> None:
    request, worker = divided
    [helper] = helpers_of(worker)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(120) == 0
    assert has_ended(helper)
    assert [shard.status for shard in request.shards.all()] == ["queued", "queued"]
    assert len(waiting_jobs()) == 2
    gates.open()
    run(request)
    assert_each_frame_was_written_once(request)


@needs_two_cores
def test_cancelled_request_ends_its_helper_process(divided: tuple[Request, Child]) -> None:
    request, worker = divided
    [helper] = helpers_of(worker)
    cancel_request(request)
    wait_for("the end of the helper", lambda: has_ended(helper))
    request.refresh_from_db()
    assert (request.status, request.done) == ("cancelled", 0)
    assert {shard.status for shard in request.shards.all()} == {"cancelled"}


@needs_two_cores
def test_run_does_not_wait_for_a_helper_process_that_still_starts(
    finder: Function, make_task: MakeTask, start: Start, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_HELPER_PROCESSOR_SHARE = settings.CVAT_LAMBDA_HELPER_MIN_REMAINING_S = 0.0
    request = start(task_id=make_task(FRAMES).pk)
    lease = claim(request.shards.get().pk)
    assert lease is not None
    loaded = load_run(lease)
    command = (sys.executable, "-c", "import sys; sys.stdin.read()  # it is never ready")
    helpers = HelperProcesses(
        run=loaded, frames=FrameCursor(loaded.frames), command=command, cancel=loaded.cancel
    )
    waiting = threading.Thread(target=helpers.wait, daemon=True)
    helpers.start()
    try:
        [helper] = wait_for("a helper", lambda: children_with(command))
        waiting.start()
        waiting.join(60)
        assert not waiting.is_alive()
    finally:
        helpers.stop()
    assert has_ended(helper)


def test_worker_that_waits_for_a_slow_function_starts_no_helper_process(
    finder: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    worker_process: Callable[..., Child],
) -> None:
    def behave(payload: dict[str, Any]) -> Any:
        threading.Event().wait(0.4)
        return rectangle_of(frame_of(payload))

    function.behave = behave
    request = start(task_id=make_task(FRAMES).pk)
    worker_process(burst=True, **{**WORKER, "CVAT_LAMBDA_HELPER_PROCESSOR_SHARE": "0.8"})
    wait_for("the end of the request", lambda: ended(request), timeout_s=240)
    assert_each_frame_was_written_once(request)
    assert frames_of_shards(request) == [[[0, FRAMES - 1]]]


@pytest.mark.parametrize(
    ("options", "function_id"),
    [({"output": "tracks"}, "finder"), ({}, "matcher")],
    ids=["tracks of a detector", "reid"],
)
def test_run_whose_end_needs_all_frames_is_not_divided(
    finder: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    options: dict[str, Any],
    function_id: str,
) -> None:
    store_function(function.url, "matcher", kind="reid", labels=[])
    request = start(function_id=function_id, task_id=make_task(4).pk, **options)
    lease = claim(request.shards.get().pk)
    assert lease is not None
    assert not work_of(load_run(lease)).divisible


def frames(numbers: Sequence[int]) -> Iterator[Frame]:
    for number in numbers:
        yield Frame(number=number, data=b"", mime="", name="", width=None, height=None)


def test_frames_that_were_given_away_are_not_read() -> None:
    numbers = (2, 3, 5, 8, 9, 20)
    cursor = FrameCursor(numbers)
    reader = cursor.limit(frames(numbers))
    assert [next(reader).number, next(reader).number] == [2, 3]
    assert (cursor.taken, cursor.remaining) == (2, 4)
    given: list[Sequence[int]] = []
    assert cursor.give(3, given.append)
    assert not cursor.give(2, given.append)  # only one is left
    assert given == [(8, 9, 20)]
    assert [frame.number for frame in reader] == [5]
    assert cursor.remaining == 0


def test_split_off_moves_frames_to_a_shard_of_their_own(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    request = start(task_id=make_task(12).pk, frames=[[0, 3], [6, 11]])
    lease = claim(request.shards.get().pk)
    assert lease is not None
    loaded = load_run(lease)
    split_off(loaded, [9, 10, 11])
    split_off(loaded, [3, 6, 7, 8])
    assert frames_of_shards(request) == [[[0, 2]], [[9, 11]], [[3, 3], [6, 8]]]
    rows = request.shards.order_by("index")
    facts = rows.values_list("index", "total", "first_frame", "last_frame", "status")
    assert list(facts) == [
        (0, 3, 0, 2, "started"),
        (1, 3, 9, 11, "queued"),
        (2, 4, 3, 8, "queued"),
    ]


def test_split_off_of_a_cancelled_request_changes_nothing(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    request = start(task_id=make_task(6).pk)
    lease = claim(request.shards.get().pk)
    assert lease is not None
    loaded = load_run(lease)
    cancel_request(request)
    with pytest.raises(LeaseLost):
        split_off(loaded, [4, 5])
    assert frames_of_shards(request) == [[[0, 5]]]


def test_shard_that_nobody_claimed_after_its_split_is_sent_by_recovery(
    finder: Function, make_task: MakeTask, start: Start, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_STALLED_AFTER_S = 0.0
    request = start(task_id=make_task(6).pk)
    lease = claim(request.shards.get().pk)
    assert lease is not None
    new = split_off(load_run(lease), [4, 5])
    sent_before = waiting_jobs()
    recover()
    [sent] = set(waiting_jobs()) - set(sent_before)
    assert request.shards.get(pk=new).rq_job_id == sent
