"""Permissions of owner, assignee, other user and anonymous at every endpoint and method."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.models import Task
from cvat_lambda.engine.standalone.tasks import create_project, create_task
from cvat_lambda.requests.store.models import Outcome, Request, Shard
from tests.conftest import ClientFor
from tests.integration.interactive.functions import Functions
from tests.permission_table import wrong_cases
from tests.routes import Endpoint, defined, routes, samples, undefined

from .conftest import Api, ApiOf

CAR = json.dumps([{"name": "car", "type": "rectangle"}])
ROOT = "/api/lambda/"
CALL = {"task": "{task}", "frame": 0}
POST = {"function": "yolo", "task": "{task}"}

UNKNOWN = 99999

REFUSED = [405, 405, 405, 401]

# method, path, body; status for alice (owner), bob (assignee of a job), charlie, anonymous
TABLE = [
    ("GET", "functions", None, (200, 200, 200, 401)),
    ("GET", "functions/yolo", None, (200, 200, 200, 401)),
    ("GET", "functions/none", None, (404, 404, 404, 401)),
    ("POST", "functions/yolo", CALL, (200, 200, 403, 401)),
    ("POST", "functions/yolo", {"job": "{job0}", "frame": 0}, (200, 200, 403, 401)),
    ("POST", "functions/yolo", {"job": "{job1}", "frame": 2}, (200, 403, 403, 401)),
    ("POST", "functions/yolo", {"task": UNKNOWN, "frame": 0}, (400, 400, 400, 401)),
    ("POST", "functions/yolo", {"job": UNKNOWN, "frame": 0}, (400, 400, 400, 401)),
    ("POST", "functions/none", CALL, (404, 404, 404, 401)),
    ("GET", "requests", None, (200, 200, 200, 401)),
    # An assignee may view the task, but may start requests only on the assigned job.
    ("POST", "requests", {**POST, "frames": [0]}, (409, 403, 403, 401)),
    ("POST", "requests", {"function": "yolo", "job": "{job0}"}, (409, 409, 403, 401)),
    ("POST", "requests", {"function": "yolo", "job": "{job1}"}, (409, 403, 403, 401)),
    ("POST", "requests", {"function": "yolo", "tasks": ["{task}"]}, (409, 403, 403, 401)),
    ("POST", "requests", {**POST, "job": "{job1}"}, (409, 403, 403, 401)),
    ("POST", "requests", {**POST, "job": UNKNOWN}, (400, 400, 400, 401)),
    ("POST", "requests", {"function": "yolo", "project": "{project}"}, (200, 403, 403, 401)),
    ("POST", "requests", {"function": "yolo", "project": UNKNOWN}, (400, 400, 400, 401)),
    ("POST", "requests", {"function": "none", "task": "{task}"}, (404, 403, 403, 401)),
    ("POST", "requests", {"function": "none", "task": UNKNOWN}, (400, 400, 400, 401)),
    ("GET", "requests/{request}", None, (200, 200, 404, 401)),
    ("GET", "requests/none", None, (404, 404, 404, 401)),
    ("GET", "requests/{request}/outcomes", None, (200, 200, 404, 401)),
    ("POST", "requests/{request}/undo", {}, (409, 403, 404, 401)),
    ("POST", "requests/{request}/retry", {}, (409, 403, 404, 401)),
    ("POST", "requests/{request}/resume", {}, (409, 403, 404, 401)),
    ("DELETE", "requests/{request}", None, (204, 403, 404, 401)),
    ("DELETE", "requests/{request}?undo=true", None, (204, 403, 404, 401)),
]


@pytest.fixture
def places(
    api: Api,
    alice: User,
    bob: User,
    charlie: User,
    functions: Functions,
    task: Task,
    jobs: list[int],
    images: list[Path],
) -> dict[str, int | str]:
    """A task of alice with a queued request, and a project. Bob has the task's first job."""
    functions.add("yolo", type="detector", spec=CAR)
    models.Job.objects.filter(pk=jobs[0]).update(assignee=bob)
    project = create_project(alice, "project", ["car"])
    create_task(alice, "in the project", (), images[:1], project=project)
    made = api.post("requests", {"function": "yolo", "task": task.pk}).json()["id"]
    ids = {"task": task.pk, "project": project.pk, "job0": jobs[0], "job1": jobs[1]}
    return {**ids, "request": made}


def filled(template: Any, places: dict[str, int | str]) -> Any:
    """Return the template with every ``{name}`` replaced by that value of `places`."""
    if isinstance(template, dict):
        return {key: filled(value, places) for key, value in template.items()}
    if isinstance(template, list):
        return [filled(value, places) for value in template]
    if isinstance(template, str) and template.startswith("{"):
        return places[template.strip("{}")]
    return template


def test_every_endpoint_answers_each_user_with_the_status_of_the_table(
    client_for: ClientFor, places: dict[str, int | str], alice: User, bob: User, charlie: User
) -> None:
    def send(client: Client, method: str, path: str, body: Any) -> Any:
        text = "" if body is None else json.dumps(filled(body, places))
        place = f"{ROOT}{path.format(**places)}"
        return client.generic(method, place, text, content_type="application/json")

    wrong = wrong_cases(TABLE, [alice, bob, charlie, None], client_for, send)
    assert not wrong, "\n".join(wrong)


VIEWS = routes("api/lambda/")
SAMPLES = samples(f"{ROOT}{path}" for _, path, _, _ in TABLE)


def test_every_endpoint_and_method_is_in_the_table_and_no_other() -> None:
    """A new endpoint must be added to the table."""
    assert {Endpoint.of(method, f"{ROOT}{path}") for method, path, _, _ in TABLE} == defined(VIEWS)


def test_every_other_method_answers_405_to_logged_in_users(
    api_of: ApiOf, places: dict[str, int | str], alice: User, bob: User, charlie: User
) -> None:
    clients = [api_of(person).client for person in (alice, bob, charlie, None)]
    found = {}
    for endpoint in undefined(VIEWS):
        path = SAMPLES[endpoint.name].format(**places)
        found[endpoint] = [
            client.generic(endpoint.method, path, "{}", content_type="application/json").status_code
            for client in clients
        ]
    assert found
    assert {endpoint: found[endpoint] for endpoint in found if found[endpoint] != REFUSED} == {}


def test_request_of_another_user_is_answered_like_an_unknown_one(
    api_of: ApiOf, places: dict[str, int | str], charlie: User
) -> None:
    """Bug in CVAT: every user could read and cancel every request."""
    stranger = api_of(charlie)
    found = stranger.get(f"requests/{places['request']}").json()
    unknown = stranger.get("requests/req-0").json()
    assert found["message"].replace(places["request"], "req-0") == unknown["message"]
    assert found["code"] == unknown["code"] == "request_not_found"
    assert stranger.get("requests").json() == []
    assert stranger.delete(f"requests/{places['request']}").status_code == 404
    assert Request.objects.get().status == "queued"


def test_refused_requests_write_nothing(
    api_of: ApiOf, places: dict[str, int | str], bob: User
) -> None:
    body = {"function": "yolo", "task": places["task"], "cleanup": True}
    assert api_of(bob).post("requests", body).status_code == 403
    assert (Request.objects.count(), Shard.objects.count(), Outcome.objects.count()) == (1, 1, 0)


def test_user_who_may_view_but_not_edit_a_task_cannot_start_a_request_on_it(
    api_of: ApiOf, places: dict[str, int | str], bob: User
) -> None:
    """Bug in CVAT: permission to view the data was enough to replace annotations."""
    at_work = api_of(bob)
    assert at_work.client.get(f"/api/tasks/{places['task']}").status_code == 200
    answer = at_work.post("requests", {"function": "yolo", "task": places["task"], "frames": [2]})
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert Request.objects.count() == 1


def test_refused_call_of_another_user_does_not_invoke_the_function(
    api_of: ApiOf, places: dict[str, int | str], functions: Functions, charlie: User
) -> None:
    assert api_of(charlie).call("yolo", task=places["task"], frame=0).status_code == 403
    assert functions.asked["yolo"] == []


def test_anonymous_request_is_answered_with_www_authenticate(api_of: ApiOf, db: None) -> None:
    answer = api_of(None).get("functions")
    assert (answer.status_code, list(answer.json())) == (401, ["detail"])
    assert "WWW-Authenticate" in answer.headers


def test_editor_of_the_task_who_did_not_start_a_request_can_view_and_not_change_it(
    api_of: ApiOf, places: dict[str, int | str], bob: User
) -> None:
    """CVE-2026-73221: in CVAT every annotator of a task could cancel requests of other users."""
    models.Task.objects.filter(pk=places["task"]).update(assignee=bob)
    colleague, request = api_of(bob), places["request"]
    assert colleague.get(f"requests/{request}").status_code == 200
    for method, path in (
        ("delete", f"requests/{request}"),
        ("post", f"requests/{request}/retry"),
        ("post", f"requests/{request}/resume"),
        ("post", f"requests/{request}/undo"),
    ):
        answer = getattr(colleague, method)(path)
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied"), path
        assert "only the user who started it and administrators" in answer.json()["message"]
    assert Request.objects.get().status == "queued"


def test_administrator_cancels_retries_resumes_and_undoes_the_request_of_another_user(
    api_of: ApiOf, places: dict[str, int | str]
) -> None:
    root = User.objects.create_superuser("root", "root@example.com", "root-secret")
    administrator, path = api_of(root), f"requests/{places['request']}"
    for again in ("retry", "resume"):
        assert administrator.delete(path).status_code == 204
        assert Request.objects.get().status == "cancelled"
        assert administrator.post(f"{path}/{again}").json()["status"] == "queued"
    assert administrator.delete(path).status_code == 204
    assert administrator.post(f"{path}/undo").json()["undone"] is not None
    assert Request.objects.get().undo_user_id == root.pk


def test_initiator_who_lost_the_right_to_edit_the_task_cannot_change_the_request(
    api_of: ApiOf, places: dict[str, int | str], alice: User, charlie: User
) -> None:
    models.Task.objects.filter(pk=places["task"]).update(owner=charlie, assignee=None)
    models.Job.objects.filter(pk=places["job1"]).update(assignee=alice)
    former = api_of(alice)
    assert former.get(f"requests/{places['request']}").status_code == 200
    assert former.delete(f"requests/{places['request']}").status_code == 403
