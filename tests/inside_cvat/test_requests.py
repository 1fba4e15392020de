"""Requests inside CVAT from the API to the tables, with a function behind HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from cvat.apps.engine import models
from cvat.apps.events import handlers
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from cvat_lambda.engine.conformance import LABELS, Bench
from cvat_lambda.engine.cvat.compat import HAS_SCORE
from tests.http_server import Reply
from tests.inside_cvat.scenarios import CvatScenarios, label_to_json
from tests.inside_cvat.test_frames import honeypot_frames, honeypots
from tests.integration.engine.videos import number_of
from tests.integration.requests.function_server import FunctionServer, function_server

Json = dict[str, Any]
Clients = Callable[[str], Any]

pytestmark = pytest.mark.django_db(transaction=True)


def image_number(payload: Json) -> int:
    """The number of the image that a function received."""
    import base64

    return number_of(base64.b64decode(payload["image"]))


@pytest.fixture
def function() -> Iterator[FunctionServer]:
    """A detector whose rectangle has the number of the image as its left edge."""
    from cvat_lambda.functions.models import Function
    from cvat_lambda.gateway.gateway import get_gateway

    with function_server() as server:
        # In these tests the grey level of an image tells its number.
        server.behave = lambda payload: boxes_of(image_number(payload))
        spec = json.dumps([{"name": "car", "type": "rectangle"}])
        Function.objects.create(
            id="cars",
            platform="endpoint",
            kind="detector",
            endpoint_url=server.url,
            metadata={
                "metadata": {"name": "cars", "annotations": {"type": "detector", "spec": spec}},
                "status": {"state": "ready"},
            },
        )
        yield server
        get_gateway().reset()


def boxes_of(picture: int) -> list[Json]:
    points = [picture, 1, picture + 10, 11]
    return [{"label": "car", "type": "rectangle", "points": points, "confidence": 0.75}]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[Json]:
    """CVAT's server events."""
    sent: list[Json] = []
    monkeypatch.setattr(handlers, "record_server_event", lambda **event: sent.append(event))
    return sent


def run(cvat: CvatScenarios, **body: Any) -> Any:
    """Create a request of alice. The queues of these tests run it before the answer."""
    from cvat_lambda.models import Request

    made = cvat.send("post", "/api/lambda/requests", {"function": "cars", **body})
    request = Request.objects.get(pk=made["id"])
    assert (request.status, request.error_message) == ("finished", "")
    assert request.failed == 0
    return request


def left_edges(cvat: CvatScenarios, path: str) -> list[tuple[int, float]]:
    """Frame and left edge of each shape in the answer of CVAT's API."""
    shapes = cvat.send("get", f"/api/{path}/annotations")["shapes"]
    return sorted((shape["frame"], shape["points"][0]) for shape in shapes)


# Frames


def test_request_on_images_with_start_step_and_deleted_frames_writes_to_the_right_frames(
    cvat: CvatScenarios, function: FunctionServer
) -> None:
    task_id = cvat.task(frames=9, start_frame=1, step=2, deleted=[1])
    request = run(cvat, task=task_id)
    assert (request.total, request.done, request.skipped) == (4, 3, 1)
    # Frame r of the task is picture 1 + 2 r of the upload.
    assert left_edges(cvat, f"tasks/{task_id}") == [(0, 1.0), (2, 5.0), (3, 7.0)]


def test_request_on_a_video_writes_to_the_right_frames(
    cvat: CvatScenarios, function: FunctionServer
) -> None:
    task_id = cvat.task(frames=14, video=True)
    run(cvat, task=task_id)
    assert left_edges(cvat, f"tasks/{task_id}") == [(frame, float(frame)) for frame in range(14)]


@pytest.mark.parametrize("video", [False, True])
def test_frame_of_overlapping_segments_is_invoked_once_and_written_to_each_job(
    cvat: CvatScenarios, function: FunctionServer, video: bool
) -> None:
    upload: Json = {"frames": 30, "start_frame": 3, "step": 4, "data": {"stop_frame": 22}}
    task_id = cvat.task(video=video, segment_size=3, overlap=1, **upload)
    asked: Counter[int] = Counter()

    def behave(payload: Json) -> list[Json]:
        asked[image_number(payload)] += 1
        return boxes_of(image_number(payload))

    function.behave = behave
    run(cvat, task=task_id)
    assert asked == Counter([3, 7, 11, 15, 19])  # 3 + 4 r for frame r of the task
    first, second = (job.id for job in cvat.engine.task(task_id).jobs)
    assert left_edges(cvat, f"jobs/{first}") == [(0, 3.0), (1, 7.0), (2, 11.0)]
    assert left_edges(cvat, f"jobs/{second}") == [(2, 11.0), (3, 15.0), (4, 19.0)]
    found = [(frame, 3.0 + 4 * frame) for frame in range(5)]
    assert left_edges(cvat, f"tasks/{task_id}") == found
    for frame, left in found:
        body = {"task": task_id, "frame": frame}
        answer = cvat.send("post", "/api/lambda/functions/cars", body)
        assert answer["shapes"][0]["points"][0] == left


def test_honeypots_are_annotated_as_other_frames_and_their_pool_by_its_own_job_only(
    cvat: CvatScenarios, function: FunctionServer
) -> None:
    task_id = honeypots(cvat)
    task = cvat.engine.task(task_id)
    request = run(cvat, task=task_id)
    in_jobs = set(range(task.size)) - task.validation_frames
    assert (request.done, request.skipped) == (len(in_jobs), 0)
    found = left_edges(cvat, f"tasks/{task_id}")
    assert {frame for frame, _ in found} == in_jobs
    hidden = {
        frame
        for job in task.jobs
        if job.type == "annotation"
        for frame in honeypot_frames(cvat, job.id)
    }
    # A honeypot shows one of the images 5 to 7.
    assert hidden == {frame for frame, left in found if left in (5.0, 6.0, 7.0)} != set()

    (pool,) = (job for job in task.jobs if job.type == "ground_truth")
    run(cvat, task=task_id, job=pool.id)
    found = left_edges(cvat, f"jobs/{pool.id}")
    assert {frame for frame, _ in found} == set(pool.frames)
    assert len(found) == len(pool.frames)


@pytest.mark.parametrize("video", [False, True])
def test_request_on_a_ground_truth_job_writes_to_it_alone(
    cvat: CvatScenarios, function: FunctionServer, video: bool
) -> None:
    task_id = cvat.task(frames=20, video=video, start_frame=2, step=3, segment_size=2)
    job_id = cvat.ground_truth_job(task_id, [1, 4])
    run(cvat, task=task_id, job=job_id)
    assert left_edges(cvat, f"jobs/{job_id}") == [(1, 5.0), (4, 14.0)]
    assert left_edges(cvat, f"tasks/{task_id}") == []


def test_request_on_a_consensus_replica_writes_to_it_alone(
    cvat: CvatScenarios, function: FunctionServer
) -> None:
    task_id = cvat.task(frames=4, segment_size=2, spec={"consensus_replicas": 2})
    jobs = cvat.engine.task(task_id).jobs
    replica, *others = (job for job in jobs if job.type == "consensus_replica")
    run(cvat, task=task_id, job=replica.id)
    assert left_edges(cvat, f"jobs/{replica.id}") == [(f, float(f)) for f in replica.frames]
    assert left_edges(cvat, f"tasks/{task_id}") == []
    assert [left_edges(cvat, f"jobs/{job.id}") for job in others] == [[], [], []]


# Replacement


def draw_rectangles(cvat: CvatScenarios, task_id: int, *frames: int) -> list[int]:
    """Draw rectangles as a user. Return their ids."""
    label_id = cvat.engine.task(task_id).labels[0].id
    shapes = [
        {
            "type": "rectangle",
            "frame": frame,
            "label_id": label_id,
            "points": [50, 1, 60, 11],
            "source": "manual",
        }
        for frame in frames
    ]
    body = {"version": 0, "tags": [], "shapes": shapes, "tracks": []}
    made = cvat.send("patch", f"/api/tasks/{task_id}/annotations?action=create", body)
    return [shape["id"] for shape in made["shapes"]]


@pytest.mark.parametrize(
    ("replace", "kept"),
    [
        ("none", [(0, 0.0), (0, 0.0), (0, 50.0), (1, 1.0), (1, 1.0)]),
        ("function", [(0, 0.0), (0, 50.0), (1, 1.0)]),  # by the ids that the first request made
        ("automatic", [(0, 0.0), (0, 50.0), (1, 1.0)]),
        ("all", [(0, 0.0), (1, 1.0)]),
    ],
)
def test_second_request_replaces_what_its_policy_says(
    cvat: CvatScenarios, function: FunctionServer, replace: str, kept: list[tuple[int, float]]
) -> None:
    task_id = cvat.task(frames=2)
    draw_rectangles(cvat, task_id, 0)
    run(cvat, task=task_id)
    run(cvat, task=task_id, replace=replace)
    assert left_edges(cvat, f"tasks/{task_id}") == kept


@pytest.mark.parametrize("owner", ["task", "job"])
@pytest.mark.parametrize(
    "change",
    [
        {"points": [40.0, 2.0, 50.0, 9.0], "source": "semi-auto"},  # as CVAT's page saves a drag
        {"points": [40.0, 2.0, 50.0, 9.0]},
        {"source": "semi-auto"},
        {"occluded": True},
    ],
)
def test_shape_that_a_user_saved_is_kept_by_a_second_request_and_by_undo(
    cvat: CvatScenarios, function: FunctionServer, owner: str, change: Json
) -> None:
    """CVAT keeps the id of a shape that it updates: the edited shape was deleted."""
    task_id = cvat.task(frames=3)
    first = run(cvat, task=task_id)
    (job,) = cvat.engine.task(task_id).jobs
    path = f"tasks/{task_id}" if owner == "task" else f"jobs/{job.id}"
    shapes = cvat.send("get", f"/api/{path}/annotations")["shapes"]
    (shape,) = (shape for shape in shapes if shape["frame"] == 1)
    edited = {"version": 0, "tags": [], "tracks": [], "shapes": [{**shape, **change}]}
    cvat.send("patch", f"/api/{path}/annotations?action=update", edited)
    left = change.get("points", shape["points"])[0]
    run(cvat, task=task_id)
    found = [(0, 0.0), (1, 1.0), (1, left), (2, 2.0)]
    assert left_edges(cvat, f"tasks/{task_id}") == sorted(found)
    cvat.send("post", f"/api/lambda/requests/{first.pk}/undo")
    assert (1, left) in left_edges(cvat, f"tasks/{task_id}")
    last = first.__class__.objects.order_by("-created_at")[0]
    cvat.send("post", f"/api/lambda/requests/{last.pk}/undo")
    assert left_edges(cvat, f"tasks/{task_id}") == [(1, left)]


def test_cleanup_removes_nothing_from_other_frames(
    cvat: CvatScenarios, function: FunctionServer
) -> None:
    task_id = cvat.task(frames=4)
    draw_rectangles(cvat, task_id, 0, 1, 2, 3)
    run(cvat, task=task_id, cleanup=True, frames=[[1, 2]])
    assert left_edges(cvat, f"tasks/{task_id}") == [(0, 50.0), (1, 1.0), (2, 2.0), (3, 50.0)]


def tracks_of(cvat: CvatScenarios, job_id: int) -> list[int]:
    """The first frames of a job's tracks."""
    return sorted(
        row["frame"] for row in cvat.send("get", f"/api/jobs/{job_id}/annotations")["tracks"]
    )


@pytest.mark.parametrize("by_jobs", [False, True])
def test_replaced_track_is_removed_from_each_job(
    cvat: CvatScenarios, function: FunctionServer, by_jobs: bool
) -> None:
    bench = Bench(cvat, frames=8, segment_size=5, overlap=2)
    first, second = (job.id for job in bench.jobs)
    bench.write(
        tracks=[
            bench.track((0, False), (2, True)),
            bench.track((1, False), (6, True)),  # cut into one for each job
            bench.track((3, False), (4, True)),  # alike in both jobs
        ]
    )
    assert (tracks_of(cvat, first), tracks_of(cvat, second)) == ([0, 1, 3], [3, 3])
    named = {"jobs": [first, second]} if by_jobs else {"task": bench.task_id}
    run(cvat, **named, cleanup=True)
    assert (tracks_of(cvat, first), tracks_of(cvat, second)) == ([], [])


# Re-identification


@pytest.fixture
def reid_function(function: FunctionServer) -> FunctionServer:
    """A ReID function that matches all rectangles."""
    from cvat_lambda.functions.models import Function

    function.behave = lambda payload: [0] * len(payload["boxes0"])
    Function.objects.create(
        id="same",
        platform="endpoint",
        kind="reid",
        endpoint_url=function.url,
        metadata={
            "metadata": {"name": "same", "annotations": {"type": "reid", "spec": "[]"}},
            "status": {"state": "ready"},
        },
    )
    return function


def test_undo_of_reid_restores_the_rectangles(
    cvat: CvatScenarios, reid_function: FunctionServer
) -> None:
    task_id = cvat.task(frames=6, segment_size=3)
    first, second = cvat.engine.task(task_id).jobs
    draw_rectangles(cvat, task_id, 0, 1, 3)
    request = run(cvat, task=task_id, function="same")
    assert (tracks_of(cvat, first.id), tracks_of(cvat, second.id)) == ([0], [])
    assert left_edges(cvat, f"tasks/{task_id}") == [(3, 50.0)]  # the only one of its job
    cvat.send("post", f"/api/lambda/requests/{request.pk}/undo")
    assert tracks_of(cvat, first.id) == []
    assert [frame for frame, _ in left_edges(cvat, f"tasks/{task_id}")] == [0, 1, 3]


@pytest.mark.parametrize("job_type", [None, "annotation", "ground_truth"])
def test_reid_in_a_task_with_honeypots_is_rejected(
    cvat: CvatScenarios, reid_function: FunctionServer, job_type: str | None
) -> None:
    """CVAT accepts no tracks in such a task."""
    task_id = honeypots(cvat)
    task = cvat.engine.task(task_id)
    draw_rectangles(cvat, task_id, *range(task.size))
    body: Json = {"function": "same", "task": task_id}
    if job_type is not None:
        body["job"] = next(job.id for job in task.jobs if job.type == job_type)
    answer = cvat.try_to_send("post", "/api/lambda/requests", body)
    assert (answer.status_code, reid_function.payloads) == (400, [])
    assert "takes no tracks" in answer.content.decode()


def test_failed_frame_keeps_its_annotations(cvat: CvatScenarios, function: FunctionServer) -> None:
    from cvat_lambda.models import Request

    task_id = cvat.task(frames=3)
    draw_rectangles(cvat, task_id, 0, 1, 2)
    function.behave = lambda payload: (
        {"no": "list"} if image_number(payload) == 1 else boxes_of(image_number(payload))
    )
    body = {"function": "cars", "task": task_id, "cleanup": True}
    request = Request.objects.get(pk=cvat.send("post", "/api/lambda/requests", body)["id"])
    assert (request.done, request.failed) == (2, 1)
    assert left_edges(cvat, f"tasks/{task_id}") == [(0, 0.0), (1, 50.0), (2, 2.0)]


# Events and webhooks


def test_event_of_a_request_names_its_task_project_and_job(
    cvat: CvatScenarios, function: FunctionServer, events: list[Json]
) -> None:
    """In CVAT these members are null, since it passes an id instead of the object."""
    labels = [label_to_json(label) for label in LABELS]
    project_id = cvat.send("post", "/api/projects", {"name": "p", "labels": labels})["id"]
    task_id = cvat.task(frames=2, project_id=project_id)
    (job,) = cvat.engine.task(task_id).jobs
    for body in ({"task": task_id}, {"task": task_id, "job": job.id}):
        events.clear()
        request = run(cvat, **body)
        (event,) = (event for event in events if event["scope"] == "call:function")
        assert (event["task_id"], event["project_id"]) == (task_id, project_id)
        assert event["job_id"] == body.get("job")
        assert event["user_name"] == "alice"
        assert event["payload"]["category"] == "batch"
        assert event["payload"]["function"] == {"id": "cars"}
        assert event["payload"]["parameters"]["request"] == request.pk


def test_event_of_a_call_names_its_task_and_job(
    cvat: CvatScenarios, function: FunctionServer, events: list[Json]
) -> None:
    task_id = cvat.task(frames=2)
    (job,) = cvat.engine.task(task_id).jobs
    for body in ({"task": task_id}, {"job": job.id}):
        events.clear()
        answer = cvat.send("post", "/api/lambda/functions/cars", {**body, "frame": 1})
        assert [shape["points"][0] for shape in answer["shapes"]] == [1.0]
        (event,) = (event for event in events if event["scope"] == "call:function")
        assert (event["task_id"], event["job_id"]) == (task_id, body.get("job"))
        assert event["payload"]["category"] == "interactive"
        assert event["payload"]["parameters"] == {"frame": 1}


def test_call_that_crashes_is_recorded_as_an_exception(
    cvat: CvatScenarios,
    function: FunctionServer,
    events: list[Json],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from cvat_lambda.engine.cvat import call_facts

    def crash(*_: Any) -> str:
        raise RuntimeError("a mistake of ours")

    task_id = cvat.task(frames=1)
    monkeypatch.setattr(call_facts, "known_frames", crash)
    events.clear()
    path = "/api/lambda/functions/cars"
    answer = cvat.try_to_send("post", path, {"task": task_id, "frame": 0})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    (event,) = events
    assert event["scope"] == "send:exception"
    assert event["payload"]["message"] == "RuntimeError: a mistake of ours"
    assert (event["payload"]["status_code"], event["user_name"]) == (500, "alice")
    events.clear()
    answer = cvat.try_to_send("post", path, {"task": 999_999, "frame": 0})
    assert (answer.status_code, events) == (400, [])


def test_batch_sends_one_event_per_job_in_the_name_of_the_owner(
    cvat: CvatScenarios, function: FunctionServer, events: list[Json]
) -> None:
    task_id = cvat.task(frames=6, segment_size=3)
    events.clear()
    run(cvat, task=task_id)
    made = [event for event in events if event["scope"] == "create:shapes"]
    assert sorted((event["job_id"], event["count"]) for event in made) == sorted(
        (job.id, 3) for job in cvat.engine.task(task_id).jobs
    )
    assert {(event["task_id"], event["user_name"]) for event in made} == {(task_id, "alice")}


@pytest.mark.parametrize("only_removes", [False, True])
def test_request_triggers_the_webhooks_of_job_task_and_project_once(
    cvat: CvatScenarios,
    function: FunctionServer,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    only_removes: bool,
) -> None:
    from cvat.apps.webhooks import signals

    settings.CVAT_LAMBDA_BATCH_FRAMES = 2  # three batches
    heard: list[str] = []
    labels = [label_to_json(label) for label in LABELS]
    project_id = cvat.send("post", "/api/projects", {"name": "p", "labels": labels})["id"]
    task_id = cvat.task(frames=6, project_id=project_id)
    body = {
        "target_url": "http://127.0.0.1:9/",
        "type": "project",
        "project_id": project_id,
        "content_type": "application/json",
        "events": ["update:job", "update:task", "update:project"],
        "is_active": True,
    }
    draw_rectangles(cvat, task_id, 0, 1, 2)
    cvat.send("post", "/api/webhooks", body)
    monkeypatch.setattr(
        signals, "add_to_queue", lambda webhook, payload, *_: heard.append(payload["event"])
    )
    if only_removes:
        function.behave = lambda payload: []
    run(cvat, task=task_id, cleanup=only_removes)
    assert sorted(heard) == ["update:job", "update:project", "update:task"]


FILTERS = {
    "action=autoannotate": True,
    "action=create": False,
    "target=task": True,
    "target=job": False,
    "status=finished": True,
    "status=failed": False,
    "task_id={task_id}": True,
    "job_id={task_id}": False,
    "project_id=1": False,
    "format=COCO 1.0": False,
    "subresource=annotations": False,
    "org=": True,
    "sort=status": True,
    "sort=-action": True,
    "page_size=1": True,  # the newest
}


def test_request_is_found_by_the_filters_of_cvats_list(
    cvat: CvatScenarios, function: FunctionServer, client_for: Clients
) -> None:
    """CVAT's own list has no requests of automatic annotation."""
    task_id = cvat.task(frames=2)
    request = run(cvat, task=task_id)
    rows = {row["id"]: row for row in cvat.send("get", "/api/requests")["results"]}
    found = rows[request.pk]
    assert (found["status"], float(found["progress"])) == ("finished", 1.0)
    assert found["operation"]["type"] == "autoannotate:task"
    assert found["operation"]["task_id"] == task_id
    assert found["operation"]["function_id"] == "cars"
    assert cvat.send("get", f"/api/requests/{request.pk}")["id"] == request.pk
    others = client_for("charlie").get("/api/requests").json()["results"]
    assert request.pk not in [row["id"] for row in others]
    for query, is_shown in FILTERS.items():
        found = cvat.send("get", f"/api/requests?{query.format(task_id=task_id)}")["results"]
        assert (request.pk in [row["id"] for row in found]) == is_shown, query
    # The RQ jobs of the request are not listed.
    assert [key for key in rows if key.startswith(request.pk)] == [request.pk]


def test_number_of_queries_of_cvats_list_does_not_grow_with_the_requests(
    cvat: CvatScenarios, function: FunctionServer
) -> None:
    """CVAT's pages poll the list every few seconds."""
    tasks = [cvat.task(frames=1), cvat.task(frames=1)]
    counts = []
    for _ in range(2):
        made = [run(cvat, tasks=tasks).pk, run(cvat, tasks=list(reversed(tasks))).pk]
        with CaptureQueriesContext(connection) as asked:
            rows = cvat.send("get", "/api/requests?action=autoannotate")["results"]
        assert [row["id"] for row in rows[:2]] == list(reversed(made))
        counts.append(len(asked))
    assert counts[1] <= counts[0]


def test_score_is_stored_with_the_shape_or_with_its_provenance(
    cvat: CvatScenarios, function: FunctionServer
) -> None:
    from cvat_lambda.models import Provenance

    task_id = cvat.task(frames=1)
    request = run(cvat, task=task_id)
    (shape,) = cvat.send("get", f"/api/tasks/{task_id}/annotations")["shapes"]
    assert shape.get("score") == (0.75 if HAS_SCORE else None)
    assert shape["source"] == "auto"
    (record,) = Provenance.objects.filter(request=request)
    assert (record.object_id, record.score) == (shape["id"], 0.75)


# Permissions


def test_role_in_the_organization_decides_who_starts_and_views_requests(
    cvat: CvatScenarios, function: FunctionServer, client_for: Clients, people: Json
) -> None:
    from cvat.apps.organizations.models import Membership, Organization

    organization = Organization.objects.create(name="o", slug="o", owner=people["alice"])
    for name, role in (("alice", "owner"), ("bob", "maintainer"), ("charlie", "worker")):
        Membership.objects.create(
            user=people[name], organization=organization, role=role, is_active=True
        )
    task_id = cvat.task(frames=2)
    models.Task.objects.filter(pk=task_id).update(organization=organization)
    body = {"function": "cars", "task": task_id}
    path = "/api/lambda/requests"
    assert client_for("charlie").post(f"{path}?org=o", body, format="json").status_code == 403
    made = client_for("bob").post(f"{path}?org=o", body, format="json")
    assert (made.status_code, made.json()["status"]) == (200, "queued")
    one = f"{path}/{made.json()['id']}"
    for name, status in (("alice", 200), ("bob", 200), ("charlie", 404)):
        assert client_for(name).get(f"{one}?org=o").status_code == status, name
        listed = client_for(name).get(f"{path}?org=o").json()
        assert len(listed) == (status == 200), name
    assert client_for("charlie").delete(f"{one}?org=o").status_code == 404
    # Alice may edit the task, but did not start the request.
    assert client_for("alice").delete(f"{one}?org=o").status_code == 403
    assert client_for("alice").post(f"{one}/undo?org=o").status_code == 403
    # Without ``org``, as the SDK asks by default, a task or a request of any organization is found.
    assert client_for("bob").get(f"/api/tasks/{task_id}").status_code == 200
    for name, status in (("bob", 200), ("charlie", 404)):
        assert client_for(name).get(one).status_code == status, name
    assert client_for("bob").delete(one).status_code == 204


@pytest.mark.parametrize("action", ["retry", "undo", "cancel"])
@pytest.mark.parametrize(
    ("name", "may"), [("bob", True), ("dora", True), ("alice", False)], ids=lambda value: str(value)
)
def test_initiator_and_administrators_may_retry_undo_and_cancel_and_other_members_may_not(
    cvat: CvatScenarios,
    function: FunctionServer,
    client_for: Clients,
    people: Json,
    action: str,
    name: str,
    may: bool,
) -> None:
    """Bob started the request. Dora is an administrator. Alice owns the task and may edit it."""
    from cvat.apps.organizations.models import Membership, Organization
    from django.contrib.auth.models import Group

    from cvat_lambda.models import Request

    users: Any = type(people["alice"]).objects
    people["dora"] = users.create_user("dora", "dora@example.com", "dora-secret")
    people["dora"].groups.set([Group.objects.get_or_create(name="admin")[0]])
    organization = Organization.objects.create(name="o", slug="o", owner=people["alice"])
    for member, role in (("alice", "owner"), ("bob", "maintainer")):
        Membership.objects.create(
            user=people[member], organization=organization, role=role, is_active=True
        )
    task_id = cvat.task(frames=3)
    models.Task.objects.filter(pk=task_id).update(organization=organization)
    works = function.behave
    broken = Reply(status=500, body=b'"the lens is dirty"')
    function.behave = lambda payload: broken if image_number(payload) == 2 else works(payload)
    body = {"function": "cars", "task": task_id}
    path = "/api/lambda/requests"
    request_id = client_for("bob").post(path, body, format="json").json()["id"]
    function.behave = works
    rows = Request.objects.filter(pk=request_id)
    if action == "cancel":
        rows.update(status="queued")
        rows.get().shards.update(status="queued")
    before = rows.values("status", "done", "failed", "shapes").get()
    person = client_for(name)
    if action == "cancel":
        answer = person.delete(f"{path}/{request_id}")
    else:
        answer = person.post(f"{path}/{request_id}/{action}")
    after = rows.values("status", "done", "failed", "shapes").get()
    if not may:
        assert (answer.status_code, after) == (403, before)
        return
    assert answer.status_code == (204 if action == "cancel" else 200), answer.content
    changed = {
        "retry": {"status": "finished", "done": 3, "failed": 0, "shapes": 3},
        "undo": {**before, "shapes": 0},
        "cancel": {**before, "status": "cancelled"},
    }
    assert after == changed[action]
    assert len(left_edges(cvat, f"tasks/{task_id}")) == after["shapes"]


@pytest.mark.parametrize("in_organization", [False, True])
def test_assignee_of_a_job_views_and_undoes_the_requests_on_it(
    cvat: CvatScenarios,
    function: FunctionServer,
    client_for: Clients,
    people: Json,
    in_organization: bool,
) -> None:
    """CVAT's rules show such an annotator the job and not its task."""
    from cvat.apps.organizations.models import Membership, Organization

    task_id = cvat.task(frames=4, segment_size=2)
    query = ""
    if in_organization:
        organization = Organization.objects.create(name="o", slug="o", owner=people["alice"])
        for name, role in (("alice", "owner"), ("bob", "worker")):
            Membership.objects.create(
                user=people[name], organization=organization, role=role, is_active=True
            )
        models.Task.objects.filter(pk=task_id).update(organization=organization)
        query = "?org=o"
    mine, other = cvat.engine.task(task_id).jobs
    cvat.assign_job(mine.id, "bob")
    path = "/api/lambda/requests"
    bob = client_for("bob")
    body = {"function": "cars", "job": mine.id}
    request_id = bob.post(f"{path}{query}", body, format="json").json()["id"]
    assert bob.get(f"{path}/{request_id}{query}").json()["status"] == "finished"
    assert [row["id"] for row in bob.get(f"{path}{query}").json()] == [request_id]
    for more in ({"task": task_id}, {"job": other.id}):
        hidden = run(cvat, **more).pk
        assert bob.get(f"{path}/{hidden}{query}").status_code == 404
        assert bob.get(f"/api/requests/{hidden}{query}").status_code == 403
    assert [row["id"] for row in bob.get(f"{path}{query}").json()] == [request_id]
    assert bob.post(f"{path}/{request_id}/undo{query}").status_code == 200
    assert bob.delete(f"{path}/{request_id}{query}").status_code == 204


def test_request_over_several_tasks_is_visible_to_those_who_view_all_of_them(
    cvat: CvatScenarios, function: FunctionServer, client_for: Clients, people: Json
) -> None:
    tasks = [cvat.task(frames=1), cvat.task(frames=1)]
    models.Task.objects.filter(pk=tasks[0]).update(assignee=people["bob"])
    request = run(cvat, tasks=tasks)
    for path in ("/api/lambda/requests", "/api/requests"):
        assert client_for("bob").get(f"{path}/{request.pk}").status_code == 404, path
        assert client_for("alice").get(f"{path}/{request.pk}").status_code == 200, path


# Return to CVAT's own app


STOCK = """
import json, sys
import django
django.setup()
from django.apps import apps
from django.contrib.auth.models import User
from rest_framework.test import APIClient
client = APIClient()
client.force_login(User.objects.get(username="alice"))
def get(path):
    answer = client.get(path)
    return [answer.status_code, json.loads(answer.content)]
print(json.dumps({
    "ours": apps.is_installed("cvat_lambda"),
    "stock": apps.is_installed("cvat.apps.lambda_manager"),
    "annotations": get(f"/api/tasks/{sys.argv[1]}/annotations"),
    "requests": get("/api/lambda/requests"),
    "list": get("/api/requests"),
}))
"""


def rolled_back(code: str, *arguments: object) -> str:
    """Run code with CVAT's own app on the same database. Return the last line it prints."""
    child = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.inside_cvat.rolled_back_settings",
            "CVAT_POSTGRES_DBNAME": str(connection.settings_dict["NAME"]),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-2000:]
    return child.stdout.splitlines()[-1]


def test_return_to_cvats_own_app_loses_nothing(
    cvat: CvatScenarios, function: FunctionServer
) -> None:
    task_id = cvat.task(frames=3)
    request = run(cvat, task=task_id)
    before = cvat.send("get", f"/api/tasks/{task_id}/annotations")
    found = json.loads(rolled_back(STOCK, task_id))
    assert (found["ours"], found["stock"]) == (False, True)
    assert found["annotations"] == [200, before]
    assert len(before["shapes"]) == 3
    assert [found["requests"][0], found["list"][0]] == [200, 200]
    # The rows of the requests were kept.
    assert cvat.send("get", f"/api/lambda/requests/{request.pk}")["done"] == 3


DELETE_ALICE = """
import django
django.setup()
from django.contrib.auth.models import User
User.objects.get(username="alice").delete()
print(User.objects.filter(username="alice").count())
"""


def test_user_can_be_deleted_after_the_return_to_cvats_own_app(
    cvat: CvatScenarios, function: FunctionServer
) -> None:
    """The app's tables stay, and their foreign keys must not prevent the deletion."""
    request = run(cvat, task=cvat.task(frames=1))
    assert rolled_back(DELETE_ALICE) == "0"
    request.refresh_from_db()
    assert (request.owner_id, request.status) == (None, "finished")


WORK = """
import django
django.setup()
import django_rq
from cvat.rqworker import SimpleWorker
from django.conf import settings
from django.contrib.auth.models import User
from rest_framework.test import APIClient
client = APIClient()
client.force_login(User.objects.get(username="alice"))
paths = ("/api/lambda/requests", "/api/requests")
codes = [client.get(path).status_code for path in paths]
settings.RQ_QUEUES["annotation"]["ASYNC"] = True
queue = django_rq.get_queue("annotation")
SimpleWorker([queue], connection=queue.connection).work(burst=True)
codes += [client.get(path).status_code for path in paths]
print(codes, queue.failed_job_registry.count)
"""


def test_queued_request_survives_the_return_to_cvats_own_app(
    cvat: CvatScenarios,
    function: FunctionServer,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CVAT's own app does not list the request, and its worker fails the RQ job."""
    from cvat_lambda.models import Request
    from cvat_lambda.requests.control import recover

    task_id = cvat.task(frames=2)
    with monkeypatch.context() as patch:
        patch.setitem(settings.RQ_QUEUES["annotation"], "ASYNC", True)
        made = cvat.send("post", "/api/lambda/requests", {"function": "cars", "task": task_id})
    request = Request.objects.get(pk=made["id"])
    assert rolled_back(WORK) == "[200, 200, 200, 200] 1"
    request.refresh_from_db()
    assert request.status == "queued"
    long_ago = timezone.now() - timedelta(hours=1)
    request.shards.update(enqueued_at=long_ago)
    recover.recover()
    request.refresh_from_db()
    assert (request.status, request.done) == ("finished", 2)
    assert left_edges(cvat, f"tasks/{task_id}") == [(0, 0.0), (1, 1.0)]
