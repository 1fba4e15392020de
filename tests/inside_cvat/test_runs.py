"""Whole requests inside CVAT, from its API to its tables, with a function at the wire."""

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

from cvat_lambda.engine.conformance import LABELS, Bench
from cvat_lambda.engine.cvat.compat import HAS_SCORE
from tests.inside_cvat.host import Host, label_to_json
from tests.inside_cvat.test_frames import honeypots
from tests.integration.engine.videos import number_of
from tests.integration.requests.function_server import FunctionServer, function_server

Json = dict[str, Any]
Clients = Callable[[str], Any]

pytestmark = pytest.mark.django_db(transaction=True)


def picture_in(payload: Json) -> int:
    """Which picture of the upload a function got."""
    import base64

    return number_of(base64.b64decode(payload["image"]))


@pytest.fixture
def function() -> Iterator[FunctionServer]:
    """A detector whose rectangle's left edge is the number of the picture."""
    from cvat_lambda.functions.models import Function
    from cvat_lambda.gateway.http import pool

    with function_server() as server:
        # The pictures of these tests tell their number in another way.
        server.behave = lambda payload: boxes_of(picture_in(payload))
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
        pool.close()


def boxes_of(picture: int) -> list[Json]:
    points = [picture, 1, picture + 10, 11]
    return [{"label": "car", "type": "rectangle", "points": points, "confidence": 0.75}]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[Json]:
    """CVAT's events of the server."""
    sent: list[Json] = []
    monkeypatch.setattr(handlers, "record_server_event", lambda **event: sent.append(event))
    return sent


def run(host: Host, **body: Any) -> Any:
    """A request of alice's, at its end: queues of these tests run jobs where they are sent."""
    from cvat_lambda.models import Request

    made = host.send("post", "/api/lambda/requests", {"function": "cars", **body})
    request = Request.objects.get(pk=made["id"])
    assert (request.status, request.error_message) == ("finished", "")
    assert request.failed == 0
    return request


def places(host: Host, path: str) -> list[tuple[int, float]]:
    """Frame and left edge of each shape, as CVAT's API gives them."""
    shapes = host.send("get", f"/api/{path}/annotations")["shapes"]
    return sorted((shape["frame"], shape["points"][0]) for shape in shapes)


# Where frames come from, and which


def test_images_with_start_step_and_deleted_frames(host: Host, function: FunctionServer) -> None:
    task_id = host.task(frames=9, start_frame=1, step=2, deleted=[1])
    request = run(host, task=task_id)
    assert (request.total, request.done, request.skipped) == (4, 3, 1)
    # Frame r of the task is picture 1 + 2 r of the upload.
    assert places(host, f"tasks/{task_id}") == [(0, 1.0), (2, 5.0), (3, 7.0)]


def test_video(host: Host, function: FunctionServer) -> None:
    task_id = host.task(frames=14, video=True)
    run(host, task=task_id)
    assert places(host, f"tasks/{task_id}") == [(frame, float(frame)) for frame in range(14)]


@pytest.mark.parametrize("video", [False, True])
def test_frames_of_overlapping_segments_are_run_once_and_written_to_each_job(
    host: Host, function: FunctionServer, video: bool
) -> None:
    upload: Json = {"frames": 30, "start_frame": 3, "step": 4, "data": {"stop_frame": 22}}
    task_id = host.task(video=video, segment_size=3, overlap=1, **upload)
    asked: Counter[int] = Counter()

    def behave(payload: Json) -> list[Json]:
        asked[picture_in(payload)] += 1
        return boxes_of(picture_in(payload))

    function.behave = behave
    run(host, task=task_id)
    assert asked == Counter([3, 7, 11, 15, 19])  # 3 + 4 r for frame r of the task
    first, second = (job.id for job in host.engine.task(task_id).jobs)
    assert places(host, f"jobs/{first}") == [(0, 3.0), (1, 7.0), (2, 11.0)]
    assert places(host, f"jobs/{second}") == [(2, 11.0), (3, 15.0), (4, 19.0)]
    found = [(frame, 3.0 + 4 * frame) for frame in range(5)]
    assert places(host, f"tasks/{task_id}") == found
    for frame, left in found:
        body = {"task": task_id, "frame": frame}
        answer = host.send("post", "/api/lambda/functions/cars", body)
        assert answer["shapes"][0]["points"][0] == left


def test_honeypots_are_left_out_and_their_pool_is_run_by_its_own_job(
    host: Host, function: FunctionServer
) -> None:
    task_id = honeypots(host)
    task = host.engine.task(task_id)
    request = run(host, task=task_id)
    ordinary = set(range(task.size)) - task.placeholder_frames - task.validation_frames
    assert (request.done, request.skipped) == (len(ordinary), len(task.placeholder_frames))
    assert {frame for frame, _ in places(host, f"tasks/{task_id}")} == ordinary

    (pool,) = (job for job in task.jobs if job.type == "ground_truth")
    run(host, task=task_id, job=pool.id)
    found = places(host, f"jobs/{pool.id}")
    assert {frame for frame, _ in found} == set(pool.frames)
    assert len(found) == len(pool.frames)


@pytest.mark.parametrize("video", [False, True])
def test_ground_truth_job_has_a_layer_of_its_own(
    host: Host, function: FunctionServer, video: bool
) -> None:
    task_id = host.task(frames=20, video=video, start_frame=2, step=3, segment_size=2)
    job_id = host.ground_truth_job(task_id, [1, 4])
    run(host, task=task_id, job=job_id)
    assert places(host, f"jobs/{job_id}") == [(1, 5.0), (4, 14.0)]
    assert places(host, f"tasks/{task_id}") == []


def test_consensus_replica_is_run_alone(host: Host, function: FunctionServer) -> None:
    task_id = host.task(frames=4, segment_size=2, spec={"consensus_replicas": 2})
    jobs = host.engine.task(task_id).jobs
    replica, *others = (job for job in jobs if job.type == "consensus_replica")
    run(host, task=task_id, job=replica.id)
    assert places(host, f"jobs/{replica.id}") == [(f, float(f)) for f in replica.frames]
    assert places(host, f"tasks/{task_id}") == []
    assert [places(host, f"jobs/{job.id}") for job in others] == [[], [], []]


# What makes way


def drawn(host: Host, task_id: int, *frames: int) -> list[int]:
    """Rectangles that a person drew; their ids."""
    label_id = host.engine.task(task_id).labels[0].id
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
    made = host.send("patch", f"/api/tasks/{task_id}/annotations?action=create", body)
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
def test_second_run_replaces_by_its_policy(
    host: Host, function: FunctionServer, replace: str, kept: list[tuple[int, float]]
) -> None:
    task_id = host.task(frames=2)
    drawn(host, task_id, 0)
    run(host, task=task_id)
    run(host, task=task_id, replace=replace)
    assert places(host, f"tasks/{task_id}") == kept


def test_only_frames_of_the_request_lose_anything(host: Host, function: FunctionServer) -> None:
    task_id = host.task(frames=4)
    drawn(host, task_id, 0, 1, 2, 3)
    run(host, task=task_id, cleanup=True, frames=[[1, 2]])
    assert places(host, f"tasks/{task_id}") == [(0, 50.0), (1, 1.0), (2, 2.0), (3, 50.0)]


def tracks_of(host: Host, job_id: int) -> list[int]:
    """First frames of a job's tracks."""
    return sorted(
        row["frame"] for row in host.send("get", f"/api/jobs/{job_id}/annotations")["tracks"]
    )


@pytest.mark.parametrize("by_jobs", [False, True])
def test_tracks_that_are_replaced_go_from_each_job_that_holds_them(
    host: Host, function: FunctionServer, by_jobs: bool
) -> None:
    bench = Bench(host, frames=8, segment_size=5, overlap=2)
    first, second = (job.id for job in bench.jobs)
    bench.write(
        tracks=[
            bench.track((0, False), (2, True)),
            bench.track((1, False), (6, True)),  # cut into one for each job
            bench.track((3, False), (4, True)),  # alike in both jobs
        ]
    )
    assert (tracks_of(host, first), tracks_of(host, second)) == ([0, 1, 3], [3, 3])
    named = {"jobs": [first, second]} if by_jobs else {"task": bench.task_id}
    run(host, **named, cleanup=True)
    assert (tracks_of(host, first), tracks_of(host, second)) == ([], [])


# Rectangles that become tracks


@pytest.fixture
def joiner(function: FunctionServer) -> FunctionServer:
    """A ReID function for which all rectangles are one object."""
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


def test_rectangles_become_a_track_and_come_back(host: Host, joiner: FunctionServer) -> None:
    task_id = host.task(frames=6, segment_size=3)
    first, second = host.engine.task(task_id).jobs
    drawn(host, task_id, 0, 1, 3)
    request = run(host, task=task_id, function="same")
    assert (tracks_of(host, first.id), tracks_of(host, second.id)) == ([0], [])
    assert places(host, f"tasks/{task_id}") == [(3, 50.0)]  # one alone in its job
    host.send("post", f"/api/lambda/requests/{request.pk}/undo")
    assert tracks_of(host, first.id) == []
    assert [frame for frame, _ in places(host, f"tasks/{task_id}")] == [0, 1, 3]


@pytest.mark.parametrize("job_type", [None, "annotation", "ground_truth"])
def test_tracks_are_refused_at_once_where_there_are_honeypots(
    host: Host, joiner: FunctionServer, job_type: str | None
) -> None:
    """CVAT takes none in such a task: a run would fail at its end, when all is asked for."""
    task_id = honeypots(host)
    task = host.engine.task(task_id)
    drawn(host, task_id, *sorted(set(range(task.size)) - task.placeholder_frames))
    body: Json = {"function": "same", "task": task_id}
    if job_type is not None:
        body["job"] = next(job.id for job in task.jobs if job.type == job_type)
    answer = host.try_to_send("post", "/api/lambda/requests", body)
    assert (answer.status_code, joiner.payloads) == (400, [])
    assert "takes no tracks" in answer.content.decode()


def test_failed_frame_keeps_what_it_had(host: Host, function: FunctionServer) -> None:
    from cvat_lambda.models import Request

    task_id = host.task(frames=3)
    drawn(host, task_id, 0, 1, 2)
    function.behave = lambda payload: (
        {"no": "list"} if picture_in(payload) == 1 else boxes_of(picture_in(payload))
    )
    body = {"function": "cars", "task": task_id, "cleanup": True}
    request = Request.objects.get(pk=host.send("post", "/api/lambda/requests", body)["id"])
    assert (request.done, request.failed) == (2, 1)
    assert places(host, f"tasks/{task_id}") == [(0, 0.0), (1, 50.0), (2, 2.0)]


# What CVAT hears of it


def test_event_of_a_request_names_its_task_project_and_job(
    host: Host, function: FunctionServer, events: list[Json]
) -> None:
    """Bug 13 of CVAT's own: these are null there, since a number is given for the object."""
    labels = [label_to_json(label) for label in LABELS]
    project_id = host.send("post", "/api/projects", {"name": "p", "labels": labels})["id"]
    task_id = host.task(frames=2, project_id=project_id)
    (job,) = host.engine.task(task_id).jobs
    for body in ({"task": task_id}, {"task": task_id, "job": job.id}):
        events.clear()
        request = run(host, **body)
        (event,) = (event for event in events if event["scope"] == "call:function")
        assert (event["task_id"], event["project_id"]) == (task_id, project_id)
        assert event["job_id"] == body.get("job")
        assert event["user_name"] == "alice"
        assert event["payload"]["category"] == "batch"
        assert event["payload"]["function"] == {"id": "cars"}
        assert event["payload"]["parameters"]["request"] == request.pk


def test_event_of_a_call_names_its_task_and_job(
    host: Host, function: FunctionServer, events: list[Json]
) -> None:
    task_id = host.task(frames=2)
    (job,) = host.engine.task(task_id).jobs
    for body in ({"task": task_id}, {"job": job.id}):
        events.clear()
        answer = host.send("post", "/api/lambda/functions/cars", {**body, "frame": 1})
        assert [shape["points"][0] for shape in answer["shapes"]] == [1.0]
        (event,) = (event for event in events if event["scope"] == "call:function")
        assert (event["task_id"], event["job_id"]) == (task_id, body.get("job"))
        assert event["payload"]["category"] == "interactive"
        assert event["payload"]["parameters"] == {"frame": 1}


def test_call_that_crashes_is_an_exception_of_cvats_and_no_call(
    host: Host, function: FunctionServer, events: list[Json], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cvat_lambda.engine.cvat import frames

    def crash(*_: Any) -> str:
        raise RuntimeError("a mistake of ours")

    task_id = host.task(frames=1)
    monkeypatch.setattr(frames, "frame_key", crash)
    events.clear()
    path = "/api/lambda/functions/cars"
    answer = host.try_to_send("post", path, {"task": task_id, "frame": 0})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    (event,) = events
    assert event["scope"] == "send:exception"
    assert event["payload"]["message"] == "RuntimeError: a mistake of ours"
    assert (event["payload"]["status_code"], event["user_name"]) == (500, "alice")
    events.clear()
    answer = host.try_to_send("post", path, {"task": 999_999, "frame": 0})
    assert (answer.status_code, events) == (404, [])


def test_batch_sends_one_event_a_job_in_the_owners_name(
    host: Host, function: FunctionServer, events: list[Json]
) -> None:
    task_id = host.task(frames=6, segment_size=3)
    events.clear()
    run(host, task=task_id)
    made = [event for event in events if event["scope"] == "create:shapes"]
    assert sorted((event["job_id"], event["count"]) for event in made) == sorted(
        (job.id, 3) for job in host.engine.task(task_id).jobs
    )
    assert {(event["task_id"], event["user_name"]) for event in made} == {(task_id, "alice")}


@pytest.mark.parametrize("only_removes", [False, True])
def test_webhook_hears_of_the_job_and_the_task_once(
    host: Host,
    function: FunctionServer,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    only_removes: bool,
) -> None:
    from cvat.apps.webhooks import signals

    settings.CVAT_LAMBDA_BATCH_FRAMES = 2  # three batches
    heard: list[str] = []
    labels = [label_to_json(label) for label in LABELS]
    project_id = host.send("post", "/api/projects", {"name": "p", "labels": labels})["id"]
    task_id = host.task(frames=6, project_id=project_id)
    body = {
        "target_url": "http://127.0.0.1:9/",
        "type": "project",
        "project_id": project_id,
        "content_type": "application/json",
        "events": ["update:job", "update:task", "update:project"],
        "is_active": True,
    }
    drawn(host, task_id, 0, 1, 2)
    host.send("post", "/api/webhooks", body)
    monkeypatch.setattr(
        signals, "add_to_queue", lambda webhook, payload, *_: heard.append(payload["event"])
    )
    if only_removes:
        function.behave = lambda payload: []
    run(host, task=task_id, cleanup=only_removes)
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


def test_request_is_found_in_cvats_own_list(
    host: Host, function: FunctionServer, client_for: Clients
) -> None:
    """Bug 14 of CVAT's own: its requests page knows nothing of automatic annotation."""
    task_id = host.task(frames=2)
    request = run(host, task=task_id)
    rows = {row["id"]: row for row in host.send("get", "/api/requests")["results"]}
    found = rows[request.pk]
    assert (found["status"], float(found["progress"])) == ("finished", 1.0)
    assert found["operation"]["type"] == "autoannotate:task"
    assert found["operation"]["task_id"] == task_id
    assert found["operation"]["function_id"] == "cars"
    assert host.send("get", f"/api/requests/{request.pk}")["id"] == request.pk
    others = client_for("charlie").get("/api/requests").json()["results"]
    assert request.pk not in [row["id"] for row in others]
    for query, is_shown in FILTERS.items():
        found = host.send("get", f"/api/requests?{query.format(task_id=task_id)}")["results"]
        assert (request.pk in [row["id"] for row in found]) == is_shown, query
    # The jobs of the queue themselves are no rows of that list.
    assert [key for key in rows if key.startswith(request.pk)] == [request.pk]


def test_list_asks_for_no_more_rows_where_there_are_more_requests(
    host: Host, function: FunctionServer
) -> None:
    """CVAT's pages ask for it every few seconds, and each row is asked what it is about."""
    tasks = [host.task(frames=1), host.task(frames=1)]
    counts = []
    for _ in range(2):
        made = [run(host, tasks=tasks).pk, run(host, tasks=list(reversed(tasks))).pk]
        with CaptureQueriesContext(connection) as asked:
            rows = host.send("get", "/api/requests?action=autoannotate")["results"]
        assert [row["id"] for row in rows[:2]] == list(reversed(made))
        counts.append(len(asked))
    assert counts[1] <= counts[0]


def test_score_is_kept_with_the_shape_or_else_with_the_record(
    host: Host, function: FunctionServer
) -> None:
    from cvat_lambda.models import Provenance

    task_id = host.task(frames=1)
    request = run(host, task=task_id)
    (shape,) = host.send("get", f"/api/tasks/{task_id}/annotations")["shapes"]
    assert shape.get("score") == (0.75 if HAS_SCORE else None)
    assert shape["source"] == "auto"
    (record,) = Provenance.objects.filter(request=request)
    assert (record.object_id, record.score) == (shape["id"], 0.75)


# Who may


def test_organization_decides_who_starts_and_sees_requests(
    host: Host, function: FunctionServer, client_for: Clients, people: Json
) -> None:
    from cvat.apps.organizations.models import Membership, Organization

    organization = Organization.objects.create(name="o", slug="o", owner=people["alice"])
    for name, role in (("alice", "owner"), ("bob", "maintainer"), ("charlie", "worker")):
        Membership.objects.create(
            user=people[name], organization=organization, role=role, is_active=True
        )
    task_id = host.task(frames=2)
    models.Task.objects.filter(pk=task_id).update(organization=organization)
    body = {"function": "cars", "task": task_id}
    path = "/api/lambda/requests"
    assert client_for("charlie").post(f"{path}?org=o", body, format="json").status_code == 404
    made = client_for("bob").post(f"{path}?org=o", body, format="json")
    assert (made.status_code, made.json()["status"]) == (200, "queued")
    one = f"{path}/{made.json()['id']}"
    for name, status in (("alice", 200), ("bob", 200), ("charlie", 404)):
        assert client_for(name).get(f"{one}?org=o").status_code == status, name
        listed = client_for(name).get(f"{path}?org=o").json()
        assert len(listed) == (status == 200), name
    assert client_for("charlie").delete(f"{one}?org=o").status_code == 404
    # Who names no organization, as the SDK does by default, finds one task and one request of any.
    assert client_for("bob").get(f"/api/tasks/{task_id}").status_code == 200
    for name, status in (("bob", 200), ("charlie", 404)):
        assert client_for(name).get(one).status_code == status, name
    assert client_for("bob").delete(one).status_code == 204


@pytest.mark.parametrize("in_organization", [False, True])
def test_assignee_of_a_job_alone_has_the_requests_on_it(
    host: Host,
    function: FunctionServer,
    client_for: Clients,
    people: Json,
    in_organization: bool,
) -> None:
    """CVAT's rules show such an annotator the job and not its task."""
    from cvat.apps.organizations.models import Membership, Organization

    task_id = host.task(frames=4, segment_size=2)
    query = ""
    if in_organization:
        organization = Organization.objects.create(name="o", slug="o", owner=people["alice"])
        for name, role in (("alice", "owner"), ("bob", "worker")):
            Membership.objects.create(
                user=people[name], organization=organization, role=role, is_active=True
            )
        models.Task.objects.filter(pk=task_id).update(organization=organization)
        query = "?org=o"
    mine, other = host.engine.task(task_id).jobs
    host.assign_job(mine.id, "bob")
    path = "/api/lambda/requests"
    bob = client_for("bob")
    body = {"function": "cars", "job": mine.id}
    request_id = bob.post(f"{path}{query}", body, format="json").json()["id"]
    assert bob.get(f"{path}/{request_id}{query}").json()["status"] == "finished"
    assert [row["id"] for row in bob.get(f"{path}{query}").json()] == [request_id]
    for more in ({"task": task_id}, {"job": other.id}):
        hidden = run(host, **more).pk
        assert bob.get(f"{path}/{hidden}{query}").status_code == 404
        assert bob.get(f"/api/requests/{hidden}{query}").status_code == 403
    assert [row["id"] for row in bob.get(f"{path}{query}").json()] == [request_id]
    assert bob.post(f"{path}/{request_id}/undo{query}").status_code == 200
    assert bob.delete(f"{path}/{request_id}{query}").status_code == 204


def test_request_over_several_tasks_needs_the_sight_of_all(
    host: Host, function: FunctionServer, client_for: Clients, people: Json
) -> None:
    tasks = [host.task(frames=1), host.task(frames=1)]
    models.Task.objects.filter(pk=tasks[0]).update(assignee=people["bob"])
    request = run(host, tasks=tasks)
    for path in ("/api/lambda/requests", "/api/requests"):
        assert client_for("bob").get(f"{path}/{request.pk}").status_code == 404, path
        assert client_for("alice").get(f"{path}/{request.pk}").status_code == 200, path


# And back


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
    """What a piece of code prints last in the same server with CVAT's own app."""
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


def test_cvats_own_app_comes_back_with_nothing_lost(host: Host, function: FunctionServer) -> None:
    task_id = host.task(frames=3)
    request = run(host, task=task_id)
    before = host.send("get", f"/api/tasks/{task_id}/annotations")
    found = json.loads(rolled_back(STOCK, task_id))
    assert (found["ours"], found["stock"]) == (False, True)
    assert found["annotations"] == [200, before]
    assert len(before["shapes"]) == 3
    assert [found["requests"][0], found["list"][0]] == [200, 200]
    # What the app knows of its requests is there when it comes again.
    assert host.send("get", f"/api/lambda/requests/{request.pk}")["done"] == 3


DELETE_ALICE = """
import django
django.setup()
from django.contrib.auth.models import User
User.objects.get(username="alice").delete()
print(User.objects.filter(username="alice").count())
"""


def test_people_can_be_deleted_after_the_way_back(host: Host, function: FunctionServer) -> None:
    """The app's tables stay, and must not hold on to those who have started requests."""
    request = run(host, task=host.task(frames=1))
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


def test_request_that_waits_outlives_the_way_back(
    host: Host, function: FunctionServer, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVAT's own app lists nothing of ours, and its worker fails a job that it cannot run."""
    from cvat_lambda.models import Request
    from cvat_lambda.requests.control import recover

    task_id = host.task(frames=2)
    with monkeypatch.context() as patch:
        patch.setitem(settings.RQ_QUEUES["annotation"], "ASYNC", True)
        made = host.send("post", "/api/lambda/requests", {"function": "cars", "task": task_id})
    request = Request.objects.get(pk=made["id"])
    assert rolled_back(WORK) == "[200, 200, 200, 200] 1"
    request.refresh_from_db()
    assert request.status == "queued"
    long_ago = timezone.now() - timedelta(hours=1)
    request.shards.update(enqueued_at=long_ago)
    recover.recover()
    request.refresh_from_db()
    assert (request.status, request.done) == ("finished", 2)
    assert places(host, f"tasks/{task_id}") == [(0, 0.0), (1, 1.0)]
