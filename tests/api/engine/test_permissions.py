"""Permissions at every endpoint of the standalone engine, as one table for all kinds of users."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.permissions import IsAuthenticated

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.api.server import sentence_for
from cvat_lambda.engine.standalone.tasks import create_project, create_task
from tests.conftest import ClientFor
from tests.permission_table import wrong_cases
from tests.routes import Endpoint, defined, routes, samples, undefined

EMPTY: dict[str, Any] = {"tags": [], "shapes": [], "tracks": []}
DENIED, GONE, ANONYMOUS = 403, 404, 401

LOGIN = {"username": "alice", "password": "alice-secret"}

# method, path, body; status for owner, assignee of the first job, other user, anonymous if not 401
TABLE = [
    ("GET", "/api/server/about", None, (200, 200, 200, 200)),
    ("GET", "/api/server/plugins", None, (200, 200, 200, 200)),
    ("GET", "/api/schema", None, (200, 200, 200, 200)),
    ("POST", "/api/auth/login", LOGIN, (200, 200, 200, 200)),
    ("POST", "/api/auth/login", {**LOGIN, "password": "guess"}, (400, 400, 400, 400)),
    ("GET", "/api/tasks", None, (200, 200, 200)),
    ("GET", "/api/jobs", None, (200, 200, 200)),
    ("GET", "/api/labels", None, (200, 200, 200)),
    ("GET", "/api/projects", None, (200, 200, 200)),
    ("GET", "/api/requests", None, (200, 200, 200)),
    ("POST", "/api/tasks", {"name": "new"}, (201, 201, 201)),
    ("POST", "/api/projects", {"name": "new"}, (201, 201, 201)),
    ("GET", "/api/tasks/{task}", None, (200, 200, GONE)),
    ("PATCH", "/api/tasks/{task}", {"name": "new"}, (200, DENIED, GONE)),
    ("DELETE", "/api/tasks/{task}", None, (204, DENIED, GONE)),
    ("GET", "/api/tasks/{task}/data?type=frame&number=0", None, (200, 200, GONE)),
    ("GET", "/api/tasks/{task}/data/?type=chunk&number=0", None, (200, 200, GONE)),
    ("POST", "/api/tasks/{task}/data", {}, (409, DENIED, GONE)),
    ("HEAD", "/api/tasks/{task}/data/" + 32 * "0", None, (404, DENIED, GONE)),
    ("PATCH", "/api/tasks/{task}/data/" + 32 * "0", None, (400, DENIED, GONE)),
    ("GET", "/api/tasks/{task}/data/meta", None, (200, 200, GONE)),
    ("PATCH", "/api/tasks/{task}/data/meta", {"deleted_frames": [1]}, (200, DENIED, GONE)),
    ("GET", "/api/tasks/{task}/preview", None, (200, 200, GONE)),
    ("GET", "/api/tasks/{task}/annotations/", None, (200, 200, GONE)),
    ("PUT", "/api/tasks/{task}/annotations/", EMPTY, (200, DENIED, GONE)),
    ("PATCH", "/api/tasks/{task}/annotations/?action=create", EMPTY, (200, DENIED, GONE)),
    ("DELETE", "/api/tasks/{task}/annotations/", None, (204, DENIED, GONE)),
    ("POST", "/api/tasks/{task}/annotations/?format=X", None, (400, DENIED, GONE)),
    ("HEAD", "/api/tasks/{task}/annotations/" + 32 * "0", None, (404, DENIED, GONE)),
    ("PATCH", "/api/tasks/{task}/annotations/" + 32 * "0", None, (400, DENIED, GONE)),
    ("POST", "/api/tasks/{task}/dataset/export", None, (400, 400, GONE)),
    ("GET", "/api/tasks/{task}/dataset/download?key=0", None, (404, 404, GONE)),
    ("POST", "/api/jobs/{job}/dataset/export", None, (400, 400, GONE)),
    ("POST", "/api/jobs/{other_job}/dataset/export", None, (400, GONE, GONE)),
    ("GET", "/api/jobs/{job}/dataset/download?key=0", None, (404, 404, GONE)),
    ("GET", "/api/server/annotation/formats", None, (200, 200, 200)),
    ("GET", "/api/jobs/{job}", None, (200, 200, GONE)),
    ("PATCH", "/api/jobs/{job}", {"state": "completed"}, (200, 200, GONE)),
    ("PATCH", "/api/jobs/{job}", {"assignee": None}, (200, DENIED, GONE)),
    ("DELETE", "/api/jobs/{job}", None, (400, DENIED, GONE)),
    ("GET", "/api/jobs/{job}/data?type=frame&number=0", None, (200, 200, GONE)),
    ("GET", "/api/jobs/{job}/data/meta", None, (200, 200, GONE)),
    ("PATCH", "/api/jobs/{job}/data/meta", {"deleted_frames": [1]}, (200, 200, GONE)),
    ("GET", "/api/jobs/{job}/preview", None, (200, 200, GONE)),
    ("GET", "/api/jobs/{job}/annotations/", None, (200, 200, GONE)),
    ("PUT", "/api/jobs/{job}/annotations/", EMPTY, (200, 200, GONE)),
    ("PATCH", "/api/jobs/{job}/annotations/?action=create", EMPTY, (200, 200, GONE)),
    ("DELETE", "/api/jobs/{job}/annotations/", None, (204, 204, GONE)),
    ("POST", "/api/jobs/{job}/annotations/?format=X", None, (400, 400, GONE)),
    ("POST", "/api/jobs/{other_job}/annotations/?format=X", None, (400, GONE, GONE)),
    ("HEAD", "/api/jobs/{job}/annotations/" + 32 * "0", None, (404, 404, GONE)),
    ("PATCH", "/api/jobs/{job}/annotations/" + 32 * "0", None, (400, 400, GONE)),
    ("GET", "/api/jobs/{other_job}", None, (200, GONE, GONE)),
    ("PUT", "/api/jobs/{other_job}/annotations/", EMPTY, (200, GONE, GONE)),
    ("POST", "/api/jobs", {"type": "ground_truth", "task_id": "{task}", "frames": [0]},
     (201, 400, 400)),
    ("GET", "/api/labels/{label}", None, (200, 200, GONE)),
    ("PATCH", "/api/labels/{label}", {"name": "truck"}, (200, DENIED, GONE)),
    ("DELETE", "/api/labels/{label}", None, (204, DENIED, GONE)),
    ("GET", "/api/projects/{project}", None, (200, 200, GONE)),
    ("PATCH", "/api/projects/{project}", {"name": "new"}, (200, DENIED, GONE)),
    ("DELETE", "/api/projects/{project}", None, (204, DENIED, GONE)),
    ("POST", "/api/tasks", {"name": "in", "project_id": "{project}"}, (201, 400, 400)),
    ("GET", "/api/requests/action=create&target=task&target_id={task}&id={request}", None,
     (200, 200, GONE)),
    ("GET", "/api/users/self", None, (200, 200, 200)),
    ("POST", "/api/auth/logout", None, (200, 200, 200)),
]  # fmt: skip
# The length of each list for bob. It has what he is assigned to, and its parents and labels.
BOB_SEES = {
    "/api/tasks": 2,
    "/api/jobs": 2,
    "/api/labels": 3,
    "/api/projects": 1,
    "/api/requests": 1,
}
LISTS = ["/api/tasks", "/api/jobs", "/api/labels", "/api/projects", "/api/requests"]
VIEWS = {
    name: view
    for name, view in routes("api/").items()
    if not name.startswith("lambda_") and name != "unknown"
}
SAMPLES = samples(path for _, path, _, _ in TABLE)
OPEN = {name for name, view in VIEWS.items() if IsAuthenticated not in view.cls.permission_classes}


@pytest.fixture
def things(
    task: models.Task, jobs: list[models.Job], alice: User, bob: User
) -> dict[str, int | str]:
    """Ids of what alice owns. Bob is the assignee of the task's first job."""
    models.Job.objects.filter(pk=jobs[0].pk).update(assignee=bob)
    project = create_project(alice, "project", ["tree"])
    request = models.DataRequest.objects.create(task=task, user=alice, status="finished")
    return {
        "task": task.pk,
        "job": jobs[0].pk,
        "other_job": jobs[1].pk,
        "label": models.Label.objects.filter(task=task).order_by("pk")[0].pk,
        "project": project.pk,
        "request": str(request.pk),
    }


@pytest.fixture
def project_task(
    things: dict[str, int | str], alice: User, bob: User, pictures: list[Path]
) -> None:
    project = models.Project.objects.get(pk=things["project"])
    task = create_task(alice, "in project", (), pictures[:1], project=project)
    models.Job.objects.filter(segment__task=task).update(assignee=bob)


def filled(value: Any, things: dict[str, int | str]) -> Any:
    if isinstance(value, dict):
        return {key: filled(item, things) for key, item in value.items()}
    if isinstance(value, str) and value.startswith("{"):
        return things[value[1:-1]]
    return value


def send(client: Client, method: str, path: str, body: Any, things: dict[str, int | str]) -> Any:
    is_piece = "/data/0" in path
    kind = "application/offset+octet-stream" if is_piece else "application/json"
    data: Any = b"" if is_piece else filled(body if body is not None else {}, things)
    if method in ("GET", "HEAD"):
        return client.generic(method, path.format(**things))
    if is_piece:
        return client.generic(method, path.format(**things), data, content_type=kind)
    return getattr(client, method.lower())(path.format(**things), data, content_type=kind)


@pytest.mark.usefixtures("project_task")
def test_every_endpoint_answers_each_user_with_the_status_of_the_permission_table(
    client_for: ClientFor, things: dict[str, int | str], alice: User, bob: User, charlie: User
) -> None:
    def sent(client: Client, method: str, path: str, body: Any) -> Any:
        response = send(client, method, path, body, things)
        if response.streaming:
            list(response.streaming_content)  # closes the file
        return response

    table = [(method, path, body, (*row, ANONYMOUS)[:4]) for method, path, body, row in TABLE]
    wrong = wrong_cases(table, [alice, bob, charlie, None], client_for, sent)
    assert not wrong, "\n".join(wrong)


def test_every_endpoint_and_method_is_in_the_table_and_no_other() -> None:
    assert {Endpoint.of(method, path) for method, path, _, _ in TABLE} == defined(VIEWS)


def test_every_other_method_answers_405_to_logged_in_users(
    client_for: ClientFor, things: dict[str, int | str], alice: User, bob: User, charlie: User
) -> None:
    clients = [client_for(person) for person in (alice, bob, charlie, None)]
    found, expected = {}, {}
    for endpoint in undefined(VIEWS):
        path = SAMPLES[endpoint.name].format(**things)
        found[endpoint] = [
            client.generic(endpoint.method, path, "{}", "application/json").status_code
            for client in clients
        ]
        expected[endpoint] = [405, 405, 405, 405 if endpoint.name in OPEN else ANONYMOUS]
    assert found
    assert found == expected


@pytest.mark.usefixtures("project_task")
@pytest.mark.parametrize("path", LISTS)
def test_lists_of_a_user_without_rights_are_empty(
    client_for: ClientFor, things: dict[str, int | str], alice: User, charlie: User, path: str
) -> None:
    assert client_for(alice).get(path).json()["count"] > 0
    assert client_for(charlie).get(path).json() == {
        "count": 0,
        "next": None,
        "previous": None,
        "results": [],
    }
    assert client_for(None).get(path).status_code == 401


@pytest.mark.usefixtures("project_task")
@pytest.mark.parametrize("path", LISTS)
def test_lists_of_an_assignee_have_assigned_work_only(
    client_for: ClientFor, things: dict[str, int | str], bob: User, path: str
) -> None:
    assert client_for(bob).get(path).json()["count"] == BOB_SEES[path]


def test_assignee_of_a_job_gets_that_job_only(
    client_for: ClientFor, things: dict[str, int | str], bob: User
) -> None:
    found = client_for(bob).get("/api/jobs", {"task_id": things["task"]}).json()["results"]
    assert [job["id"] for job in found] == [things["job"]]


@pytest.mark.parametrize("path", ["/api/", "/api/nothing", "/api/tasks/x", "/api/lambda/nothing/"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_unknown_path_of_the_api_answers_404_as_json(
    client_for: ClientFor, alice: User, path: str, method: str
) -> None:
    for person in (alice, None):
        answer = client_for(person).generic(method, path, "{}", "application/json")
        assert (answer.status_code, answer.json()) == (
            404,
            {"detail": sentence_for(path)},
        )


def test_administrator_may_view_and_delete_tasks_of_others(
    client_for: ClientFor, things: dict[str, int | str], admin_user: User
) -> None:
    client = client_for(admin_user)
    assert client.get(f"/api/tasks/{things['task']}").status_code == 200
    assert client.delete(f"/api/tasks/{things['task']}").status_code == 204


def test_session_without_csrf_token_changes_nothing(
    things: dict[str, int | str], alice: User
) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    assert client.delete(f"/api/tasks/{things['task']}").status_code == 403
    assert models.Task.objects.filter(pk=things["task"]).exists()
