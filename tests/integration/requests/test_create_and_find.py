"""Create and find requests: validation, permissions, scopes, overlap, priority."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from cvat_lambda import signals
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.standalone.access import StandaloneAccess
from cvat_lambda.engine.standalone.models import Job
from cvat_lambda.engine.standalone.tasks import create_ground_truth_job, create_project, create_task
from cvat_lambda.errors import (
    FrameOutOfScope,
    FunctionNotFound,
    InvalidMapping,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    RequestNotFound,
    ScopeOverlap,
)
from cvat_lambda.functions.models import Function
from cvat_lambda.requests.control.access import find_request, may_edit, visible_requests
from cvat_lambda.requests.control.cancel import cancel_request
from cvat_lambda.requests.control.create import create_request
from cvat_lambda.requests.control.retry import retry_request
from cvat_lambda.requests.control.undo import undo_request
from cvat_lambda.requests.store.models import Provenance, Request
from cvat_lambda.requests.store.progress import progress_of
from tests.http_server import Reply

from .conftest import CAR, MakeTask, Start, make_images, run, store_function
from .function_server import FunctionServer, frame_of, rectangle_of


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"function_id": "nobody"}, FunctionNotFound, "nobody"),
        ({"mapping": {"bus": {"name": "car"}}}, InvalidMapping, "bus"),
        ({"mapping": {"car": {"name": "bus"}}}, InvalidMapping, "bus"),
        ({"threshold": 1.5}, InvalidRequest, "threshold"),
        ({"replace": "some"}, InvalidRequest, "replace"),
        ({"frames": [[0, 3]]}, FrameOutOfScope, "frames 0 to 2"),
        ({"frames": []}, FrameOutOfScope, "frames 0 to 2"),
        ({"max_failure_rate": 2.0}, InvalidRequest, "max_failure_rate"),
        ({"project_id": 1}, InvalidRequest, "only one"),
        ({"task_id": 987654}, NotFound, "987654"),
    ],
)
def test_invalid_request_is_refused_and_nothing_is_stored(
    finder: Function,
    make_task: MakeTask,
    start: Start,
    options: dict[str, Any],
    error: type[Exception],
    sentence: str,
) -> None:
    task = make_task(3)
    with pytest.raises(error, match=sentence):
        start(**{"task_id": task.pk, **options})
    assert not Request.objects.exists()


def test_interactor_is_refused_as_a_request(
    function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    store_function(function.url, kind="interactor", labels=[])
    with pytest.raises(InvalidRequest, match="cannot run in the background"):
        start(task_id=make_task(1).pk)


def test_function_without_a_label_of_the_task_is_refused(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(1, labels=[{"name": "tree", "type": "rectangle"}])
    with pytest.raises(InvalidMapping, match="no label in common"):
        start(task_id=task.pk)


def test_request_for_a_detector_without_labels_names_the_missing_annotation(
    function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    store_function(function.url, labels=[])
    with pytest.raises(InvalidMapping, match="announces no labels: write them in the annotation"):
        start(task_id=make_task(1).pk)


def test_a_job_of_another_task_is_refused(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    mine, other = make_task(1), make_task(1)
    job = Job.objects.get(segment__task=mine)
    with pytest.raises(InvalidRequest, match=f"job {job.pk} is not a job of task {other.pk}"):
        start(task_id=other.pk, job_id=job.pk)


def test_a_second_request_on_the_same_frames_is_refused_by_name(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(6)
    first = start(task_id=task.pk, frames=[[0, 2]])
    with pytest.raises(ScopeOverlap, match=first.pk):
        start(task_id=task.pk, frames=[[2, 5]])
    start(task_id=task.pk, frames=[[3, 5]])


def test_two_jobs_of_a_task_run_at_the_same_time(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(6, segment_size=3, overlap=1)
    for job in Job.objects.filter(segment__task=task):
        start(task_id=task.pk, job_id=job.pk)
    with pytest.raises(ScopeOverlap):
        start(task_id=task.pk)


def test_only_one_of_several_concurrent_requests_on_the_same_frames_is_stored(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(3)
    together = threading.Barrier(4)
    results: list[str] = []

    def try_to_start() -> None:
        try:
            together.wait(180)
            start(task_id=task.pk)
            results.append("started")
        except ScopeOverlap:
            results.append("overlap")
        finally:
            connection.close()

    threads = [threading.Thread(target=try_to_start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["overlap", "overlap", "overlap", "started"]


def test_request_on_a_project_runs_all_its_tasks(
    finder: Function, alice: User, start: Start, tmp_path: Path
) -> None:
    project = create_project(alice, "streets", CAR)
    tasks = [
        create_task(alice, name, (), make_images(tmp_path / name, 2), project=project)
        for name in ("one", "two")
    ]
    create_task(alice, "not filled yet", (), project=project)
    request = run(start(project_id=project.pk))
    assert (request.status, request.total, request.done) == ("finished", 4, 4)
    assert (request.project_id, request.task_id) == (project.pk, None)
    assert [len(get_engine().annotations(task.pk).shapes) for task in tasks] == [2, 2]


@pytest.mark.parametrize("scope", ["task", "job", "tasks"])
def test_request_created_signal_names_task_and_job(
    finder: Function, make_task: MakeTask, start: Start, scope: str
) -> None:
    """Bug in CVAT: its event of a batch had neither. CVAT's adapter reads both from here."""
    one, two = make_task(4, segment_size=2), make_task(2)
    job = Job.objects.filter(segment__task=one).order_by("pk")[1]
    told: list[tuple[list[int], int | None, str]] = []

    def listen(*, request: Request, **_: Any) -> None:
        stored = Request.objects.get(pk=request.pk)  # the request is stored when the signal is sent
        tasks = stored.shards.order_by().values_list("task_id", flat=True).distinct()
        told.append((sorted(tasks), stored.job_id, stored.function_id))

    options: dict[str, dict[str, Any]] = {
        "task": {"task_id": one.pk},
        "job": {"job_id": job.pk},
        "tasks": {"task_ids": [one.pk, two.pk]},
    }
    signals.request_created.connect(listen)
    try:
        start(**options[scope])
    finally:
        signals.request_created.disconnect(listen)
    tasks = [one.pk, two.pk] if scope == "tasks" else [one.pk]
    assert told == [(tasks, job.pk if scope == "job" else None, "finder")]


def test_request_on_several_tasks_or_jobs_runs_their_frames(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    one, two = make_task(2), make_task(6, segment_size=3, overlap=1)
    request = run(start(task_ids=[one.pk, two.pk]))
    assert (request.total, request.done) == (8, 8)
    function.seen.clear()
    jobs = list(Job.objects.filter(segment__task=two).values_list("pk", flat=True))
    request = run(start(job_ids=jobs))
    assert sorted(function.seen) == [0, 1, 2, 3, 4, 5]  # shared frames are run once
    assert (request.task_id, request.status) == (two.pk, "finished")


def test_users_see_requests_of_tasks_that_they_may_view(
    finder: Function, make_task: MakeTask, start: Start, alice: User, bob: User, charlie: User
) -> None:
    task = make_task(4, segment_size=2)
    first, second = Job.objects.filter(segment__task=task).order_by("segment__start_frame")
    first.assignee = bob
    first.save()
    whole = start(task_id=task.pk, frames=[[2, 3]])
    his = start(job_id=first.pk)
    stranger, member = StandaloneAccess(charlie), StandaloneAccess(bob)
    assert list(visible_requests(stranger)) == []
    for request in (whole, his):
        with pytest.raises(RequestNotFound):
            find_request(stranger, request.pk)
    assert set(visible_requests(member)) == {whole, his}
    assert not may_edit(member, his)  # alice started it
    assert may_edit(StandaloneAccess(alice), his)
    assert not may_edit(member, whole)
    with pytest.raises(PermissionDenied):
        create_request(stranger, function_id="finder", task_id=task.pk)
    assert second.pk != first.pk


def test_owner_of_a_request_without_access_to_its_task_cannot_view_it(
    finder: Function, make_task: MakeTask, start: Start, access: StandaloneAccess, charlie: User
) -> None:
    task = make_task(2)
    request = cancel_request(start(task_id=task.pk))
    assert list(visible_requests(access)) == [request]
    task.owner = charlie
    task.save()
    assert list(visible_requests(access)) == []
    with pytest.raises(RequestNotFound):
        find_request(access, request.pk)
    assert list(visible_requests(StandaloneAccess(charlie))) == [request]


def test_request_on_several_tasks_is_visible_to_users_who_may_view_all_of_them(
    finder: Function, make_task: MakeTask, start: Start, access: StandaloneAccess, charlie: User
) -> None:
    one, two = make_task(1), make_task(1)
    request = start(task_ids=[one.pk, two.pk])
    two.owner = charlie
    two.save()
    assert list(visible_requests(access)) == []
    assert not may_edit(access, request)


def test_request_whose_tasks_are_deleted_is_visible_to_owner_and_administrators(
    finder: Function, make_task: MakeTask, start: Start, access: StandaloneAccess, bob: User
) -> None:
    task = make_task(4, segment_size=2)
    job = Job.objects.filter(segment__task=task).first()
    assert job is not None
    Job.objects.filter(pk=job.pk).update(assignee=bob)
    request = start(job_id=job.pk)
    member = StandaloneAccess(bob)
    root = StandaloneAccess(User.objects.create_superuser("root"))
    assert list(visible_requests(member)) == [request]
    task.delete()
    assert not may_edit(member, request)
    assert list(visible_requests(member)) == []
    for person in (access, root):
        assert list(visible_requests(person)) == [request]
        assert cancel_request(find_request(person, request.pk, "edit")).status == "cancelled"


def test_request_on_several_tasks_stays_visible_after_one_is_deleted(
    finder: Function, make_task: MakeTask, start: Start, access: StandaloneAccess, charlie: User
) -> None:
    gone, kept = make_task(2), make_task(2)
    request = run(start(task_ids=[gone.pk, kept.pk]))
    live = start(task_ids=[gone.pk, kept.pk])
    gone.delete()
    root = StandaloneAccess(User.objects.create_superuser("root"))
    for person in (access, root):
        assert set(visible_requests(person)) == {request, live}
        assert may_edit(person, request)
    assert list(visible_requests(StandaloneAccess(charlie))) == []
    assert cancel_request(find_request(access, live.pk, "edit")).status == "cancelled"
    assert undo_request(find_request(access, request.pk, "edit")) == 2
    assert get_engine().annotations(kept.pk).shapes == ()
    assert not Provenance.objects.exists()


def test_request_of_a_deleted_job_can_be_edited_with_the_task(
    finder: Function, make_task: MakeTask, start: Start, access: StandaloneAccess, bob: User
) -> None:
    task = make_task(4, segment_size=2)
    first, second = Job.objects.filter(segment__task=task).order_by("pk")
    Job.objects.filter(segment__task=task).update(assignee=bob)
    request = start(job_id=first.pk)
    first.delete()
    assert list(visible_requests(StandaloneAccess(bob))) == [request]
    assert not may_edit(StandaloneAccess(bob), request)
    assert may_edit(access, request)
    assert second.pk != first.pk


def test_request_on_many_tasks_takes_as_many_queries_as_on_few(
    finder: Function, make_task: MakeTask, start: Start, access: StandaloneAccess
) -> None:
    counts = []
    for number in (2, 3, 9):  # the first also asks what is asked once a process
        tasks = [make_task(1, name=f"{number}-{place}").pk for place in range(number)]
        with CaptureQueriesContext(connection) as creation:
            request = start(task_ids=tasks)
        with CaptureQueriesContext(connection) as cancellation:
            cancel_request(find_request(access, request.pk, "edit"))
        counts.append((len(creation), len(cancellation)))
    assert counts[1] == counts[2]


def test_request_on_many_jobs_takes_as_many_queries_as_on_few(
    finder: Function, make_task: MakeTask, start: Start, access: StandaloneAccess
) -> None:
    counts = []
    for number in (2, 3, 9):  # the first also asks what is asked once a process
        task = make_task(number, segment_size=1)
        jobs = list(Job.objects.filter(segment__task=task).values_list("pk", flat=True))
        with CaptureQueriesContext(connection) as creation:
            request = start(job_ids=jobs)
        with CaptureQueriesContext(connection) as check:
            assert may_edit(access, request)
        counts.append((len(creation), len(check)))
    assert counts[1] == counts[2]


def test_progress_has_percent_rate_and_remaining_time(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(4)
    request = start(task_id=task.pk)
    assert progress_of([request])[request.pk].percent is None
    Request.objects.update(status="started", done=1, skipped=1)
    request.shards.update(status="started", rate=4.0)
    request.refresh_from_db()
    progress = progress_of([request])[request.pk]
    assert (progress.percent, progress.rate, progress.eta_s) == (50, 4.0, 0.5)


def test_rate_of_a_retry_counts_the_frames_of_the_retry_only(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    """The rate used to be all frames of the request divided by the time of its last run."""
    function.behave = lambda payload: (
        Reply(status=500, body=b'Exception caught in handler - "no"')
        if frame_of(payload) == 1
        else rectangle_of(frame_of(payload))
    )
    request = run(start(task_id=make_task(9).pk))
    assert (request.done, request.failed) == (8, 1)
    function.behave = lambda payload: rectangle_of(frame_of(payload))
    request = run(retry_request(request))
    assert (request.done, request.failed) == (9, 0)
    assert request.started_at is not None
    Request.objects.update(ended_at=request.started_at + timedelta(seconds=2))
    request.refresh_from_db()
    assert progress_of([request])[request.pk].rate == 0.5


def test_request_of_high_priority_is_put_at_the_front_of_the_queue(
    finder: Function, make_task: MakeTask, start: Start, may_prioritize: None
) -> None:
    import django_rq

    task = make_task(2)
    start(task_id=task.pk, frames=[[0, 0]])
    urgent = start(task_id=task.pk, frames=[[1, 1]], priority=1)
    assert django_rq.get_queue("annotation").job_ids[0] == urgent.shards.get().rq_job_id


@pytest.fixture
def may_prioritize(alice: User) -> None:
    alice.user_permissions.add(Permission.objects.get(codename="prioritize_request"))


def test_shards_of_a_request_of_high_priority_keep_their_order(
    finder: Function, make_task: MakeTask, start: Start, may_prioritize: None
) -> None:
    import django_rq

    waiting = start(task_id=make_task(1).pk).shards.get()
    urgent = start(task_id=make_task(6).pk, priority=1, shard_frames=2)
    shards = [*urgent.shards.order_by("index"), waiting]
    assert django_rq.get_queue("annotation").job_ids == [shard.rq_job_id for shard in shards]


def test_retry_on_frames_of_another_running_request_is_refused(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    function.behave = lambda payload: Reply(status=500, body=b"no")
    task = make_task(3)
    failed = run(start(task_id=task.pk))
    assert failed.status == "failed"
    living = start(task_id=task.pk, frames=[[2, 2]])
    with pytest.raises(ScopeOverlap, match=living.pk):
        retry_request(failed)
    failed.refresh_from_db()
    assert (failed.status, failed.failed) == ("failed", 3)
    cancel_request(living)
    assert retry_request(failed).status == "queued"


def test_requests_on_task_and_ground_truth_job_run_at_once(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(4)
    truth = create_ground_truth_job(task, [1, 2]).pk
    whole = start(task_id=task.pk)
    alone = start(job_id=truth)
    for named in ({"task_id": task.pk}, {"job_id": truth}):
        with pytest.raises(ScopeOverlap):
            start(**named)
    assert (run(whole).done, run(alone).done) == (4, 2)
