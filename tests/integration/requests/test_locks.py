"""Transactions that lock the same rows wait for each other without a deadlock.

Each test locks a row that both transactions need, until both wait. Then the order of their other
locks decides whether there is a deadlock. SQLite has only one lock, so the tests need PostgreSQL.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from pytest_django import Settings
from rest_framework.test import APIClient

from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Change, Removal
from cvat_lambda.engine.standalone.models import LabeledShape, Task
from cvat_lambda.engine.standalone.tasks import create_ground_truth_job, create_project
from cvat_lambda.engine.standalone.writing import lock
from cvat_lambda.errors import FunctionUnavailable
from cvat_lambda.functions.models import Function
from cvat_lambda.gateway.cancel import CancelToken
from cvat_lambda.requests import rq_tasks
from cvat_lambda.requests.control import transitions
from cvat_lambda.requests.control.undo import remove_added, undo_request
from cvat_lambda.requests.run.lease import Lease, LeaseLost, claim, requeue_shard
from cvat_lambda.requests.run.results import FrameResult
from cvat_lambda.requests.run.shard_context import ShardRun, load_run, record_newest_track
from cvat_lambda.requests.run.writer import Writer
from cvat_lambda.requests.store.database_retry import retry_on_database_error
from cvat_lambda.requests.store.models import Provenance, Request, Shard
from tests.postgresql import waiting_connections
from tests.waiting import wait_for

from .conftest import CAR, MakeTask, Start, run, store_function
from .cutting_proxy import cutting_proxy
from .function_server import FunctionServer, frame_of, rectangle_of
from .test_reid import draw, lone, paths
from .test_replace import add, box, track


@pytest.fixture(autouse=True)
def row_locks() -> None:
    """Skip the test if the database does not lock single rows."""
    if connection.vendor != "postgresql":
        pytest.skip("this database locks no single rows")


class Threads:
    """Runs steps in threads, each until it waits for a lock, and stores their exceptions."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def start(self, step: Callable[[], object]) -> None:
        before = waiting_connections()
        thread = threading.Thread(target=self._run, args=(step,))
        thread.start()
        self._threads.append(thread)
        wait_for("a waiting connection", waiting_connections, lambda found: found > before)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _run(self, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception as exc:
            self.errors.append(exc)
        finally:
            connection.close()


@contextmanager
def held(take: Callable[[], object]) -> Iterator[Threads]:
    """Hold the locks of `take` in a transaction during the block."""
    threads = Threads()
    try:
        with transaction.atomic():
            take()
            yield threads
    finally:
        threads.join()


def leases_of(request: Request) -> list[Lease]:
    """Claim all shards of a request. Return their leases in order."""
    found = [claim(shard.pk) for shard in request.shards.order_by("pk")]
    return [lease for lease in found if lease is not None]


def lock_row(shard_id: int) -> object:
    """Lock the row of one shard."""
    return Shard.objects.select_for_update().get(pk=shard_id)


@pytest.fixture
def four_shards(finder: Function, make_task: MakeTask, start: Start, settings: Settings) -> Request:
    """A request of four shards with one frame each."""
    settings.CVAT_LAMBDA_SHARD_FRAMES = 1
    return start(task_id=make_task(4).pk)


def test_two_shards_that_end_the_whole_request_at_once_do_not_deadlock(
    four_shards: Request,
) -> None:
    _, second, third, fourth = leases_of(four_shards)

    def fail(lease: Lease) -> None:
        transitions.fail_shard(lease, FunctionUnavailable("away"), whole=True)

    with held(lambda: lock_row(third.shard_id)) as threads:
        threads.start(lambda: fail(second))
        threads.start(lambda: fail(fourth))
    assert [type(error) for error in threads.errors] == [
        LeaseLost
    ]  # the second one finds the request ended
    four_shards.refresh_from_db()
    assert (four_shards.status, four_shards.error_code) == ("failed", "function_unavailable")
    assert set(four_shards.shards.values_list("status", flat=True)) == {"failed"}


def test_a_cancel_and_a_shard_that_ends_the_whole_request_do_not_deadlock(
    four_shards: Request,
) -> None:
    _, _, third, fourth = leases_of(four_shards)
    with held(lambda: lock_row(third.shard_id)) as threads:
        threads.start(lambda: transitions.cancel(four_shards.pk))
        threads.start(
            lambda: transitions.fail_shard(fourth, FunctionUnavailable("away"), whole=True)
        )
    assert [type(error) for error in threads.errors] == [LeaseLost]
    four_shards.refresh_from_db()
    assert four_shards.status == "cancelled"


def results(loaded: ShardRun) -> list[FrameResult]:
    """Return results without shapes for all frames of a shard."""
    return [FrameResult(frame=frame, status="done") for frame in loaded.frames]


def test_the_end_of_a_shard_and_a_batch_of_another_do_not_deadlock(
    finder: Function, make_task: MakeTask, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    task = make_task(4, segment_size=2)
    ordinary = get_engine().task(task.pk).jobs[0].id
    add(task.pk, track(task.pk, 0, 1))  # the end of the first shard removes it
    truth = create_ground_truth_job(task, [2, 3]).pk
    request = start(job_ids=[ordinary, truth], replace="all")
    ending, writing = (load_run(lease) for lease in leases_of(request))
    record_newest_track(ending)
    record_newest_track(writing)
    Writer(ending, wait=time.sleep).write(results(ending))

    def end() -> None:
        rq_tasks.finish(ending, rq_tasks.work_of(ending))

    with held(lambda: lock(task.pk)) as threads:
        threads.start(lambda: Writer(writing, wait=time.sleep).write(results(writing)))
        threads.start(end)
    assert threads.errors == []
    assert "trying again" not in caplog.text  # no transaction was ended because of a deadlock
    rq_tasks.finish(writing, rq_tasks.work_of(writing))
    request.refresh_from_db()
    assert (request.status, request.done) == ("finished", 4)
    assert get_engine().annotations(task.pk).tracks == ()


def ready_to_end(request: Request) -> list[ShardRun]:
    """Claim all shards and write all frames, so that only the last transactions are left."""
    runs = [load_run(lease) for lease in leases_of(request)]
    for loaded in runs:
        rq_tasks.run_frames(loaded, rq_tasks.work_of(loaded), CancelToken())
    return runs


def test_cancel_does_not_wait_while_rectangles_are_merged(
    matcher: Function, make_task: MakeTask, start: Start
) -> None:
    """The merge used to lock the shard, for many seconds with many rectangles."""
    task = make_task(4)
    draw(task.pk, {frame: [10] for frame in range(4)})
    request = start(function_id="matcher", task_id=task.pk)
    (loaded,) = ready_to_end(request)

    def cancel() -> None:
        transitions.cancel(request.pk)
        connection.close()

    cancelling = threading.Thread(target=cancel)
    with held(lock_shapes) as threads:
        threads.start(lambda: rq_tasks.run_lease(loaded.lease))
        cancelling.start()
        cancelling.join(180)
        got_through = not cancelling.is_alive()
    cancelling.join()
    assert got_through
    assert [type(error) for error in threads.errors] == [LeaseLost]
    request.refresh_from_db()
    assert request.status == "cancelled"
    assert (paths(task.pk), len(lone(task.pk))) == ([], 4)


def lock_shapes() -> None:
    """Lock the table of shapes."""
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {LabeledShape._meta.db_table} IN ACCESS EXCLUSIVE MODE")


def test_rectangle_deleted_while_tracks_are_computed_is_in_no_track(
    matcher: Function, make_task: MakeTask, start: Start
) -> None:
    """A deleted rectangle came back as part of a track, and a changed one existed twice."""
    task = make_task(4)
    draw(task.pk, {frame: [10] for frame in range(4)})
    (loaded,) = ready_to_end(start(function_id="matcher", task_id=task.pk))
    third = next(shape for shape in get_engine().annotations(task.pk).shapes if shape.frame == 2)
    with held(lambda: lock(task.pk)) as threads:
        threads.start(lambda: rq_tasks.finish(loaded, rq_tasks.work_of(loaded)))
        removal = Removal(policy="ids", shape_ids=[third.id or 0])
        get_engine().apply(Change(task_id=task.pk, frames=(2,), remove=removal))
    assert threads.errors == []
    assert paths(task.pk) == [[(0, 10, False), (1, 10, False), (2, 10, True)]]
    assert lone(task.pk) == [(3, 10.0)]


def test_rectangle_of_two_jobs_that_end_at_once_is_merged_once(
    matcher: Function, make_task: MakeTask, start: Start
) -> None:
    """It was in a track of each job, and an undo restored it twice."""
    task = make_task(6, segment_size=4, overlap=2)
    draw(task.pk, {frame: [10] for frame in range(6)})
    before = lone(task.pk)
    jobs = [job.id for job in get_engine().task(task.pk).jobs]
    requests = [start(function_id="matcher", job_id=job_id) for job_id in jobs]
    first, second = (run for request in requests for run in ready_to_end(request))
    with held(lambda: lock(task.pk)) as threads:
        threads.start(lambda: rq_tasks.finish(first, rq_tasks.work_of(first)))
        threads.start(lambda: rq_tasks.finish(second, rq_tasks.work_of(second)))
    assert threads.errors == []
    seen = [frame for path in paths(task.pk) for frame, _, outside in path if not outside]
    assert sorted(seen + [frame for frame, _ in lone(task.pk)]) == list(range(6))
    for request in requests:
        request.refresh_from_db()
        assert request.status == "finished"
        undo_request(request)
    assert (paths(task.pk), lone(task.pk)) == ([], before)


def test_two_undos_that_wait_for_a_lock_restore_each_rectangle_once(
    matcher: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(3)
    draw(task.pk, {0: [10, 20], 1: [10], 2: [10]})
    before = lone(task.pk)
    request = run(start(function_id="matcher", task_id=task.pk))
    with held(lambda: lock(task.pk)) as threads:
        for _ in range(2):
            threads.start(lambda: remove_added(request.pk))
    assert threads.errors == []
    assert (paths(task.pk), lone(task.pk)) == ([], before)


def test_a_connection_that_is_cut_in_the_last_transaction_does_not_end_the_run(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(2)
    request = start(task_id=task.pk)
    (lease,) = leases_of(request)
    loaded = load_run(lease)
    Writer(loaded, wait=time.sleep).write(results(loaded))
    requeue_shard(lease)  # only the end of the shard is left
    with held(lambda: Request.objects.select_for_update().get(pk=request.pk)) as threads:
        threads.start(lambda: run(request))
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
    assert threads.errors == []
    request.refresh_from_db()
    assert (request.status, request.done, request.resumes) == ("finished", 2, 0)
    assert get_engine().annotations(task.pk).shapes == ()


@pytest.mark.parametrize("what", ["task", "project"])
def test_deletion_of_a_task_waits_for_a_batch_that_is_being_written(
    make_task: MakeTask, alice: User, what: str
) -> None:
    """The deletion used to fail, because it did not know the rows that the batch had added."""
    project = create_project(alice, "street", CAR)
    task = make_task(2, labels=(), project=project)
    api = APIClient()
    api.force_authenticate(alice)
    answers: list[Any] = []
    with held(lambda: add(task.pk, box(task.pk, 0, "auto"))) as threads:
        path = f"/api/tasks/{task.pk}" if what == "task" else f"/api/projects/{project.pk}"
        threads.start(lambda: answers.append(api.delete(path)))
    assert threads.errors == []
    assert [answer.status_code for answer in answers] == [204]
    assert not Task.objects.exists()


@pytest.mark.parametrize("function_id", ["finder", "matcher"])
def test_batch_whose_commit_was_not_answered_is_not_written_twice(
    matcher: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    function_id: str,
) -> None:
    store_function(function.url)
    task = make_task(3)
    draw(task.pk, {0: [10, 20], 1: [10], 2: [10]})
    if function_id == "finder":
        function.behave = lambda payload: rectangle_of(frame_of(payload))
    request = start(function_id=function_id, task_id=task.pk)
    (lease,) = leases_of(request)
    loaded = load_run(lease)
    work = rq_tasks.work_of(loaded)
    connection.close()
    with cutting_proxy(connection.settings_dict) as proxy:
        try:
            proxy.armed = True
            rq_tasks.run_frames(loaded, work, CancelToken())
            proxy.armed = True
            retry_on_database_error(
                lambda: rq_tasks.finish(loaded, work), wait=time.sleep, request_id=request.pk
            )
        finally:
            connection.close()
    assert proxy.cuts == 2
    request.refresh_from_db()
    assert (request.status, request.done, request.resumes) == ("finished", 3, 0)
    made = get_engine().annotations(task.pk)
    assert (len(made.shapes), len(made.tracks)) == ((7, 0) if function_id == "finder" else (1, 1))
    assert Provenance.objects.filter(request=request).count() == request.shapes
