"""``requests`` of the lambda API: create, list, retrieve, cancel, retry and undo."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils.dateparse import parse_datetime
from pytest_django import DjangoAssertNumQueries

from cvat_lambda.annotations.types import LabeledData, Shape
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Change
from cvat_lambda.engine.standalone.models import Job, Task
from cvat_lambda.engine.standalone.tasks import create_task
from cvat_lambda.requests.store.models import FunctionVersion, Outcome, Provenance, Request, Shard
from tests.integration.interactive.functions import Functions

from .conftest import BROWSER, Api

CAR = json.dumps([{"name": "car", "type": "rectangle"}])
AT = datetime(2026, 5, 4, 3, 2, 1, tzinfo=timezone.utc)
CONTRACT = ["id", "function", "status", "progress", "enqueued", "started", "ended", "exc_info"]


@pytest.fixture
def yolo(functions: Functions) -> str:
    return str(functions.add("yolo", type="detector", spec=CAR))


def create(api: Api, **body: Any) -> Any:
    return api.post("requests", {"function": "yolo", **body})


@pytest.fixture
def made(api: Api, yolo: str, task: Task) -> Request:
    """A queued request of alice on her whole task."""
    return Request.objects.get(pk=create(api, task=task.pk).json()["id"])


def outcome(request: Request, frame: int, status: str, **values: Any) -> Any:
    """Add the outcome of a frame as a worker does: the shard counts it."""
    shard = Shard.objects.get(request=request)
    Shard.objects.filter(pk=shard.pk).update(**{status: F(status) + 1})
    return Outcome.objects.create(
        request=request, shard=shard, task_id=shard.task_id, frame=frame, status=status, **values
    )


# Creating


def test_request_sets_the_number_of_frames_per_shard(api: Api, yolo: str, task: Task) -> None:
    made = create(api, task=task.pk, shard_frames=1.0).json()  # cvat-sdk sends floats
    sizes = Shard.objects.filter(request=made["id"]).values_list("total", flat=True)
    assert list(sizes) == [1] * made["total"]


@pytest.mark.parametrize("size", [-1, 1.5, "2", True])
def test_invalid_number_of_frames_per_shard_is_refused(
    api: Api, yolo: str, task: Task, size: object
) -> None:
    answer = create(api, task=task.pk, shard_frames=size)
    assert answer.status_code == 400
    assert list(answer.json()) == ["shard_frames"]


def test_created_request_is_answered_with_all_members(
    api: Api, yolo: str, task: Task, alice: User
) -> None:
    answer = create(
        api,
        type="annotate_task",  # as CVAT's page sends it
        task=task.pk,
        mapping={"car": {"name": "person", "attributes": {}}},
        cleanup=False,
        conv_mask_to_poly=True,
        threshold=0,
    )
    assert answer.status_code == 200  # CVAT answers 200, not 201
    found = answer.json()
    request = Request.objects.get()
    assert list(found)[:8] == CONTRACT
    assert found == {
        "id": request.pk,
        "function": {"id": "yolo", "task": task.pk, "threshold": 0},
        "status": "queued",
        "progress": None,  # the worker has not started
        "enqueued": found["enqueued"],
        "started": None,
        "ended": None,
        "exc_info": None,
        "owner": alice.pk,
        "version": 1,
        "revision": request.function_revision,
        "summary": "queued",
        "total": 3,
        "done": 0,
        "failed": 0,
        "skipped": 0,
        "shapes": 0,
        "dropped": 0,
        "notes": [],
        "revisions": [],
        "rate": None,
        "eta_s": None,
        "undoing": None,
        "undone": None,
        "errors": [],
    }
    assert parse_datetime(found["enqueued"]) == request.created_at
    assert request.params["conv_mask_to_poly"] is True


def test_ids_are_random_and_safe_in_a_path(api: Api, yolo: str, jobs: list[int]) -> None:
    """Bug in CVAT: the id was made of the task's id, so it could be guessed and was reused."""
    ids = [create(api, job=job).json()["id"] for job in jobs]
    assert len(set(ids)) == 2
    for found in ids:
        assert quote(found, safe="") == found
        assert api.get(f"requests/{found}").json()["id"] == found


def test_requests_on_two_jobs_of_a_task_are_both_queued(
    api: Api, yolo: str, task: Task, jobs: list[int]
) -> None:
    """Bug in CVAT: it allowed one request per task."""
    answers = [create(api, task=task.pk, job=job) for job in jobs]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.json()["function"]["job"] for answer in answers] == jobs
    assert [answer.json()["total"] for answer in answers] == [2, 1]


def test_second_request_on_the_same_frames_answers_409_with_the_id_of_the_first(
    api: Api, made: Request, jobs: list[int]
) -> None:
    answer = create(api, job=jobs[0])
    assert (answer.status_code, answer.json()["code"]) == (409, "scope_overlap")
    assert made.pk in answer.json()["message"]


def test_progress_counts_frames_of_the_request_only(api: Api, yolo: str, jobs: list[int]) -> None:
    """Bug in CVAT: the progress of the second of two jobs started at 51 %."""
    found = create(api, job=jobs[1]).json()
    Request.objects.update(status="started", total=8, done=1, failed=1, skipped=1)
    assert (found["progress"], api.get(f"requests/{found['id']}").json()["progress"]) == (None, 37)


@pytest.mark.parametrize(
    ("scope", "frames"),
    [
        ({"frames": [0, [2, 2]]}, [[0, 0], [2, 2]]),
        ({"frames": [2, [0, 1]]}, [[0, 2]]),
    ],
)
def test_request_on_some_frames_of_a_task_has_these_frames(
    api: Api, yolo: str, task: Task, scope: dict[str, Any], frames: list[list[int]]
) -> None:
    assert create(api, task=task.pk, **scope).status_code == 200
    assert Shard.objects.get().frames == frames


def test_request_on_several_tasks_is_shown_without_a_task_id(
    api: Api, yolo: str, task: Task, other_task: Task
) -> None:
    found = create(api, tasks=[task.pk, other_task.pk]).json()
    assert (found["function"]["task"], found["total"]) == (None, 4)


def test_request_on_several_jobs_of_a_task_has_their_frames(
    api: Api, yolo: str, task: Task, jobs: list[int]
) -> None:
    found = create(api, task=task.pk, jobs=jobs).json()
    assert (found["function"]["task"], found["total"]) == (task.pk, 3)


def test_request_on_many_jobs_takes_as_many_queries_as_on_few(
    api: Api, yolo: str, alice: User, images: list[Path]
) -> None:
    counts = []
    for number in (1, 2, 3):  # the first also runs the queries that are cached per process
        task = create_task(alice, "street", ["car"], images[:number], segment_size=1)
        jobs = list(Job.objects.filter(segment__task=task).values_list("pk", flat=True))
        assert len(jobs) == number
        with CaptureQueriesContext(connection) as queries:
            assert create(api, task=task.pk, jobs=jobs).status_code == 200
        counts.append(len(queries))
    assert counts[1] == counts[2]


@pytest.mark.parametrize("members", ["job", "jobs"])
def test_request_with_a_job_of_another_task_is_refused(
    api: Api, yolo: str, other_task: Task, jobs: list[int], members: str
) -> None:
    """Bug in CVAT: it locked the other task, so that task's owner got 409."""
    body = {"job": jobs[0]} if members == "job" else {"jobs": jobs}
    answer = create(api, task=other_task.pk, **body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert not Request.objects.exists()


def test_invalid_mapping_is_refused_before_anything_is_deleted(
    api: Api, yolo: str, task: Task
) -> None:
    """Bug in CVAT: the worker failed after cleanup had deleted all annotations."""
    answer = create(api, task=task.pk, cleanup=True, mapping={"bike": {"name": "car"}})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_mapping")
    assert not Request.objects.exists()


@pytest.mark.parametrize("kind", ["interactor", "tracker"])
def test_request_with_an_interactor_or_a_tracker_without_shapes_is_refused(
    api: Api, functions: Functions, task: Task, kind: str
) -> None:
    """Bug in CVAT: the RQ job ran and did nothing."""
    functions.add("sam", type=kind)
    answer = api.post("requests", {"function": "sam", "task": task.pk})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert kind in answer.json()["message"]


def test_request_after_a_cancelled_one_has_its_own_parameters(
    api: Api, made: Request, task: Task
) -> None:
    """Bug in CVAT: such a request ran with the parameters of the cancelled one."""
    assert api.delete(f"requests/{made.pk}").status_code == 204
    created = create(api, task=task.pk, threshold=0.7, cleanup=True).json()
    again = Request.objects.get(pk=created["id"])
    assert again.pk != made.pk
    assert (again.params["threshold"], again.params["replace"]) == (0.7, "all")
    assert "threshold" not in Request.objects.get(pk=made.pk).params


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "task"),
        ({"task": "one"}, "task"),
        ({"task": "1"}, "task"),
        ({"task": True}, "task"),
        ({"task": 0}, "task"),
        ({"task": -1}, "task"),
        ({"task": 10**30}, "task"),
        ({"task": 1.5}, "task"),
        ({"task": [1]}, "task"),
        ({"task": 1, "project": 1}, "project"),
        ({"tasks": []}, "tasks"),
        ({"task": 1, "threshold": 1.5}, "threshold"),
        ({"task": 1, "threshold": "0.5"}, "threshold"),
        ({"task": 1, "threshold": True}, "threshold"),
        ({"task": 1, "cleanup": "false"}, "cleanup"),
        ({"task": 1, "cleanup": 1}, "cleanup"),
        ({"task": 1, "cleanup": True, "replace": "none"}, "replace"),
        ({"task": 1, "replace": "some"}, "replace"),
        ({"task": 1, "max_distance": -1}, "max_distance"),
        ({"task": 1, "max_distance": 10**400}, "max_distance"),
        ({"task": 1, "frames": []}, "frames"),
        ({"task": 1, "frames": [[3, 1]]}, "frames"),
        ({"task": 1, "frames": [[1, 2, 3]]}, "frames"),
        ({"task": 1, "frames": "1-3"}, "frames"),
        ({"task": 1, "mapping": []}, "mapping"),
        ({"task": 1, "mapping": {"car": "car"}}, "mapping"),
        ({"task": 1, "mapping": {"car": {}}}, "mapping"),
        ({"task": 1, "mapping": {"car": {"name": 5}}}, "mapping"),
        ({"task": 1, "roi": [0, 0, 9]}, "roi"),
        ({"task": 1, "roi": [0, 0, 9, "9"]}, "roi"),
        ({"task": 1, "roi": [-1, 0, 9, 9]}, "roi"),
        ({"task": 1, "function": "a\x00b"}, "non_field_errors"),
        ({"task": 1, "mapping": {"\ud800": {"name": "car"}}}, "non_field_errors"),
        ({"task": 1, "function": None}, "function"),
        ({"task": 1, "function": "x" * 129}, "function"),
    ],
)
def test_invalid_member_is_named_in_the_error(
    api: Api, yolo: str, body: dict[str, object], field: str
) -> None:
    answer = create(api, **body)
    assert (answer.status_code, list(answer.json())) == (400, [field])


@pytest.mark.parametrize("body", ["", "{", "[]", "5", "null", '{"task": NaN}', '"\\ud800"'])
def test_body_that_is_not_an_object_is_refused(api: Api, yolo: str, body: str) -> None:
    assert api.post("requests", body).status_code == 400


def test_body_that_is_not_json_answers_415(api: Api) -> None:
    answer = api.client.post("/api/lambda/requests", {"task": 1})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"task": 99999}, "task_not_found"),
        ({"job": 99999}, "job_not_found"),
        ({"project": 99999}, "project_not_found"),
        ({"tasks": [99999]}, "task_not_found"),
    ],
)
def test_request_on_an_unknown_task_job_or_project_answers_400_as_in_cvat(
    api: Api, yolo: str, body: dict[str, object], code: str
) -> None:
    answer = create(api, **body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_unknown_function_answers_404(api: Api, functions: Functions, task: Task) -> None:
    answer = create(api, task=task.pk)
    assert (answer.status_code, answer.json()["code"]) == (404, "function_not_found")


# Showing


def test_a_running_request_shows_rate_and_time_left(api: Api, made: Request) -> None:
    Request.objects.update(status="started", started_at=AT, total=100, done=18, failed=2)
    Shard.objects.update(status="started", rate=4.0)
    found = api.get(f"requests/{made.pk}").json()
    assert (found["progress"], found["rate"], found["eta_s"]) == (20, 4.0, 20.0)
    assert found["started"] == "2026-05-04T03:02:01Z"


def test_queued_request_asked_by_a_browser_is_shown_as_started(api: Api, made: Request) -> None:
    """CVAT's page polls a queued request every 30 s, and a started one every 10 s."""
    shown = api.get(f"requests/{made.pk}", BROWSER).json()
    assert (shown["status"], shown["progress"]) == ("started", 0)
    assert api.get(f"requests/{made.pk}").json()["status"] == "queued"


def test_finished_request_with_failed_frames_is_shown_to_a_browser_as_failed(
    api: Api, made: Request
) -> None:
    """CVAT's page calls every finished request "accomplished" and shows no counts."""
    Request.objects.update(status="finished", total=4, done=1, failed=3)
    shown = api.get(f"requests/{made.pk}", BROWSER).json()
    assert shown["status"] == "failed"
    assert shown["exc_info"] == (
        "3 of 4 frames failed. The annotations of the other frames are saved."
    )
    assert api.get(f"requests/{made.pk}").json()["status"] == "finished"


def test_reading_requests_writes_no_rows_and_enqueues_nothing(api: Api, made: Request) -> None:
    """Listing and retrieving used to requeue lost and stalled shards."""
    long_ago = datetime.now(timezone.utc) - timedelta(hours=1)
    Shard.objects.update(status="started", heartbeat_at=long_ago, enqueued_at=long_ago)
    Request.objects.update(status="started")
    with CaptureQueriesContext(connection) as seen:
        for path in ("requests", f"requests/{made.pk}", f"requests/{made.pk}/outcomes"):
            assert api.get(path).status_code == 200
            assert api.get(path, BROWSER).json()
    written = [q["sql"] for q in seen if not q["sql"].startswith("SELECT")]
    assert [sql for sql in written if "cvat_lambda" in sql] == []
    assert Shard.objects.filter(status="started").count() == Shard.objects.count()


def test_failed_request_stays_listed_with_its_cause(api: Api, made: Request) -> None:
    """Bugs in CVAT: failed requests were not listed, and the cause was a traceback."""
    Request.objects.update(
        status="failed", ended_at=AT, done=1, error_code="x", error_message="Half of it failed."
    )
    (found,) = api.get("requests").json()
    assert (found["id"], found["status"], found["exc_info"]) == (
        made.pk,
        "failed",
        "Half of it failed.",
    )
    assert (found["progress"], found["ended"]) == (33, "2026-05-04T03:02:01Z")


def test_a_finished_request_is_at_100_percent(api: Api, made: Request) -> None:
    Request.objects.update(status="finished", done=2, failed=1)
    found = api.get(f"requests/{made.pk}").json()
    assert (found["progress"], found["exc_info"]) == (100, None)


def test_the_first_failed_frames_are_shown_with_their_cause(api: Api, made: Request) -> None:
    Request.objects.update(status="finished", total=20, failed=12)
    for frame in range(12):
        outcome(made, frame, "failed", code="function_timeout", message="Too slow.")
    outcome(made, 15, "skipped", code="deleted", message="The frame is deleted.")
    errors = api.get(f"requests/{made.pk}").json()["errors"]
    assert [error["frame"] for error in errors] == list(range(10))
    assert errors[0] == {
        "task": made.task_id,
        "frame": 0,
        "code": "function_timeout",
        "message": "Too slow.",
    }
    (listed,) = api.get("requests").json()
    assert listed["errors"] == errors


def test_outcomes_are_paginated(api: Api, made: Request) -> None:
    version = FunctionVersion.objects.create(function_id="yolo", version=3, revision="abc")
    for frame in range(5):
        outcome(
            made,
            frame,
            "failed" if frame % 2 else "done",
            shapes=frame,
            attempts=1,
            version=version,
        )
    page = api.get(f"requests/{made.pk}/outcomes?page_size=2").json()
    assert (page["count"], page["previous"]) == (5, None)
    assert page["next"].endswith(f"/api/lambda/requests/{made.pk}/outcomes?page=2&page_size=2")
    assert page["results"][1] == {
        "task": made.task_id,
        "frame": 1,
        "code": "",
        "message": "",
        "status": "failed",
        "attempts": 1,
        "duration_ms": None,
        "shapes": 1,
        "notes": [],
        "version": 3,
        "revision": "abc",
    }
    failed = api.get(f"requests/{made.pk}/outcomes?status=failed").json()
    assert [item["frame"] for item in failed["results"]] == [1, 3]


@pytest.mark.parametrize("query", ["status=lost", "page=0", "page=two", "page=9", "page_size=0"])
def test_invalid_page_of_outcomes_is_refused(api: Api, made: Request, query: str) -> None:
    assert api.get(f"requests/{made.pk}/outcomes?{query}").status_code in (400, 404)


def test_list_is_a_plain_array_newest_first_and_can_be_filtered(
    api: Api, yolo: str, made: Request, other_task: Task
) -> None:
    newer = create(api, task=other_task.pk).json()["id"]
    Request.objects.filter(pk=newer).update(status="started")

    def ids(query: str) -> list[str]:
        return [item["id"] for item in api.get(f"requests{query}").json()]

    assert ids("") == [newer, made.pk]
    assert ids(f"?task={made.task_id}") == [made.pk]
    assert ids("?status=started") == [newer]
    assert ids("?org=") == [newer, made.pk]
    assert api.get("requests?task=x").status_code == 400


def test_list_can_be_filtered_by_function(
    api: Api, functions: Functions, made: Request, other_task: Task
) -> None:
    functions.add("other", type="detector", spec=CAR)
    of_other = create(api, function="other", task=other_task.pk).json()["id"]

    def ids(query: str) -> list[str]:
        return [item["id"] for item in api.get(f"requests{query}").json()]

    assert ids("?function=other") == [of_other]
    assert ids(f"?function=yolo&task={other_task.pk}") == []
    assert ids("?function=unknown") == []


def test_a_long_list_costs_as_many_queries_as_a_short_one(
    api: Api, made: Request, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    assert made.task_id is not None
    for number in range(5):
        copy = Request.objects.create(
            owner_id=made.owner_id,
            task_id=made.task_id,
            function_id=f"f{number}",
            function_kind="detector",
            status="started",
            failed=1,
        )
        shard = Shard.objects.create(
            request=copy,
            index=0,
            task_id=made.task_id,
            frames=[],
            first_frame=0,
            last_frame=0,
            status="started",
            rate=2,
        )
        Outcome.objects.create(
            request=copy, shard=shard, task_id=made.task_id, frame=0, status="failed"
        )
    with django_assert_max_num_queries(8):  # session, user, and six of the list
        found = api.get("requests").json()
    assert [len(item["errors"]) for item in found] == [1] * 5 + [0]


def many(task: Task, owner: Any, count: int, status: str, hours: int) -> None:
    """Create `count` requests of `owner`, created `hours` after ``AT``."""
    rows = Request.objects.bulk_create(
        Request(
            owner=owner,
            task_id=task.pk,
            function_id="f",
            function_kind="detector",
            status=status,
            created_at=AT + timedelta(hours=hours, seconds=number),
        )
        for number in range(count)
    )
    Shard.objects.bulk_create(
        Shard(request=row, index=0, task_id=task.pk, frames=[], first_frame=0, last_frame=0)
        for row in rows
    )


def test_running_requests_and_those_of_the_user_are_listed_beside_many_newer_ones(
    api: Api, alice: User, bob: User, task: Task, functions: Functions
) -> None:
    many(task, bob, 2, "started", hours=1)
    many(task, alice, 3, "failed", hours=2)
    many(task, alice, 1, "queued", hours=3)
    many(task, bob, 250, "finished", hours=4)
    found = api.get("requests").json()
    assert len(found) == 200
    told = [(item["owner"], item["status"]) for item in found]
    assert told[:194] == [(bob.pk, "finished")] * 194
    assert told[194:] == [
        (alice.pk, "queued"),
        *[(alice.pk, "failed")] * 3,
        *[(bob.pk, "started")] * 2,
    ]
    moments = [item["enqueued"] for item in found]
    assert moments == sorted(moments, reverse=True)
    assert [item["status"] for item in api.get("requests?status=started").json()] == ["started"] * 2


def test_running_request_of_the_user_is_listed_beside_many_of_others(
    api: Api, alice: User, bob: User, task: Task, functions: Functions
) -> None:
    many(task, alice, 1, "started", hours=1)
    many(task, bob, 220, "queued", hours=2)
    found = api.get(f"requests?task={task.pk}").json()
    assert (len(found), found[-1]["owner"]) == (200, alice.pk)


@pytest.mark.parametrize("encoded", [True, False])
def test_request_id_in_the_format_of_cvat_answers_404(api: Api, db: None, encoded: bool) -> None:
    """cvat-sdk encodes the id in the path. CVAT's page does not."""
    name = "action=autoannotate&target=task&target_id=1"
    answer = api.get(f"requests/{quote(name, safe='') if encoded else name}")
    assert (answer.status_code, answer.json()["code"]) == (404, "request_not_found")
    assert name in answer.json()["message"]


def test_a_null_character_in_an_id_is_404(api: Api, db: None) -> None:
    assert api.get("requests/req-%00").status_code == 404


# Cancel, retry, undo


def test_cancelled_request_stays_listed_as_cancelled(api: Api, made: Request) -> None:
    """Bug in CVAT: it disappeared from the list and came back as finished."""
    answer = api.delete(f"requests/{made.pk}")
    assert (answer.status_code, answer.content) == (204, b"")
    found = api.get(f"requests/{made.pk}").json()
    assert (found["status"], found["exc_info"]) == ("cancelled", None)
    assert found["ended"] is not None
    assert [item["id"] for item in api.get("requests").json()] == [made.pk]


def test_browser_gets_a_request_that_another_user_cancelled_as_failed(
    api: Api, made: Request
) -> None:
    """CVAT's page shows every unknown state as a success."""
    assert api.delete(f"requests/{made.pk}").status_code == 204
    found = api.get(f"requests/{made.pk}", BROWSER).json()
    assert (found["status"], found["exc_info"]) == ("failed", "The request was cancelled.")


def test_second_cancel_answers_like_the_first(api: Api, made: Request) -> None:
    assert [api.delete(f"requests/{made.pk}").status_code for _ in range(2)] == [204, 204]


@pytest.fixture
def added(made: Request, task: Task) -> Request:
    """A finished request that added one shape."""
    engine = get_engine()
    (label, *_) = engine.task(task.pk).labels
    assert label.id is not None
    shape = Shape(type="rectangle", frame=1, label_id=label.id, points=(0, 0, 9, 9))
    with engine.atomic():
        written = engine.apply(
            Change(task_id=task.pk, frames=(1,), add=LabeledData(shapes=(shape,)))
        )
    Provenance.objects.create(
        request=made, task_id=task.pk, frame=1, kind="shape", object_id=written.shape_ids[0][0]
    )
    Request.objects.update(status="finished", shapes=1)
    Shard.objects.update(status="finished", total=3, done=3)
    return made


def test_undo_removes_what_the_request_added(api: Api, added: Request, task: Task) -> None:
    assert len(get_engine().annotations(task.pk).shapes) == 1
    answer = api.post(f"requests/{added.pk}/undo")
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["shapes"]) == ("finished", 0)
    assert answer.json()["undone"] is not None
    assert get_engine().annotations(task.pk).shapes == ()


def test_delete_with_undo_removes_what_the_request_added(
    api: Api, added: Request, task: Task
) -> None:
    assert api.delete(f"requests/{added.pk}?undo=maybe").status_code == 400
    assert api.delete(f"requests/{added.pk}?undo=true").status_code == 204
    assert get_engine().annotations(task.pk).shapes == ()


def test_undo_of_a_running_request_is_refused(api: Api, made: Request) -> None:
    answer = api.post(f"requests/{made.pk}/undo")
    assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")


def test_failed_frames_are_run_again(api: Api, made: Request) -> None:
    outcome(made, 0, "done")
    outcome(made, 1, "done")
    outcome(made, 2, "failed", code="function_timeout", message="Too slow.")
    Shard.objects.update(status="finished", total=3, done=2, failed=1)
    Request.objects.update(status="finished", done=2, failed=1, ended_at=AT)
    answer = api.post(f"requests/{made.pk}/retry")
    assert answer.status_code == 200
    found = answer.json()
    assert (found["status"], found["done"], found["failed"]) == ("queued", 2, 0)
    assert (found["ended"], found["errors"]) == (None, [])


def test_resume_of_a_cancelled_request_queues_missing_frames_and_keeps_failed_ones(
    api: Api, made: Request
) -> None:
    outcome(made, 0, "done")
    outcome(made, 1, "failed", code="function_timeout", message="Too slow.")
    Shard.objects.update(status="cancelled", total=3, done=1, failed=1)
    Request.objects.update(status="cancelled", done=1, failed=1, total=3, ended_at=AT)
    answer = api.post(f"requests/{made.pk}/resume")
    assert answer.status_code == 200
    found = answer.json()
    assert (found["status"], found["done"], found["failed"]) == ("queued", 1, 1)
    assert [error["frame"] for error in found["errors"]] == [1]


def test_resume_of_a_request_whose_frames_all_have_an_outcome_is_refused(
    api: Api, made: Request
) -> None:
    outcome(made, 2, "failed", code="function_timeout", message="Too slow.")
    Shard.objects.update(status="finished", total=3, done=2, failed=1)
    Request.objects.update(status="finished", done=2, failed=1, total=3, ended_at=AT)
    answer = api.post(f"requests/{made.pk}/resume")
    assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")
    assert "no frames without an outcome" in answer.json()["message"]


def test_retry_of_a_request_without_failed_frames_is_refused(api: Api, added: Request) -> None:
    answer = api.post(f"requests/{added.pk}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")


def test_region_of_a_request_is_in_its_answer(api: Api, yolo: str, task: Task) -> None:
    answer = create(api, task=task.pk, roi=[1, 2, 30, 40])
    assert (answer.status_code, answer.json()["function"]["roi"]) == (200, [1, 2, 30, 40])
    found = api.get(f"requests/{answer.json()['id']}").json()
    assert found["function"]["roi"] == [1, 2, 30, 40]
