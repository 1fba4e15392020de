"""Headers of requests and responses: `Accept`, organization, caching, CSP and body limits."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from cvat_lambda.engine.standalone import models


@pytest.fixture
def client(client: Client, alice: User) -> Client:
    client.force_login(alice)
    return client


@pytest.mark.parametrize(
    ("accept", "path", "kind"),
    [
        ("image/*", "/api/tasks/{task}/data?type=frame&number=0", "image/jpeg"),
        ("image/jpeg", "/api/tasks/{task}/preview", "image/jpeg"),
        ("image/jpeg", "/api/jobs/{job}/preview", "image/jpeg"),
        ("image/jpeg", "/api/jobs/{job}/data?type=frame&number=0", "image/jpeg"),
        ("application/zip", "/api/tasks/{task}/data?type=chunk&number=0", "application/zip"),
    ],
)
def test_media_are_returned_to_a_client_that_accepts_their_type_only(
    client: Client, jobs: list[models.Job], accept: str, path: str, kind: str
) -> None:
    path = path.format(task=jobs[0].segment.task_id, job=jobs[0].pk)
    answer = client.get(path, headers={"Accept": accept})
    assert (answer.status_code, answer["Content-Type"]) == (200, kind)
    answer.close()


def test_error_of_an_image_request_is_answered_as_json(client: Client, task: models.Task) -> None:
    path = f"/api/tasks/{task.pk}/data?type=frame&number=77"
    answer = client.get(path, headers={"Accept": "image/jpeg"})
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/vnd.cvat+json")


@pytest.mark.parametrize("path", ["annotations", "data/meta"])
def test_head_of_task_and_job_resources_answers_200(
    client: Client, bob: User, jobs: list[models.Job], path: str
) -> None:
    models.Job.objects.filter(pk=jobs[0].pk).update(assignee=bob)
    task = f"/api/tasks/{jobs[0].segment.task_id}"
    assert client.head(f"{task}/{path}").status_code == 200
    assert client.head(f"/api/jobs/{jobs[0].pk}/{path}").status_code == 200
    client.force_login(bob)  # bob may view the task, but not change it
    assert client.head(f"{task}/{path}").status_code == 200


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?org=acme", {}),  # cvat-ui
        ("?org_id=7", {}),
        ("", {"X-Organization": "acme"}),  # cvat-cli --org acme, cvat-sdk
    ],
)
def test_request_that_names_an_organization_answers_404(
    client: Client, task: models.Task, query: str, headers: dict[str, str]
) -> None:
    body: dict[str, Any] = {"name": "acme's"}
    made = client.post(f"/api/tasks{query}", body, "application/json", headers=headers)
    shown = client.get(f"/api/tasks{query}", headers=headers)
    assert (made.status_code, shown.status_code) == (404, 404)
    assert "this server has none" in made.json()["detail"]
    assert list(models.Task.objects.all()) == [task]


@pytest.mark.parametrize(("query", "headers"), [("?org=", {}), ("", {"X-Organization": ""})])
def test_request_with_an_empty_organization_lists_own_tasks(
    client: Client, task: models.Task, query: str, headers: dict[str, str]
) -> None:
    shown = client.get(f"/api/tasks{query}", headers=headers).json()
    assert [row["id"] for row in shown["results"]] == [task.pk]


@pytest.mark.parametrize(
    "path",
    [
        "/api/tasks/{task}/data?type=frame&number=0",
        "/api/tasks/{task}/data?type=frame&number=0&quality=original",
        "/api/tasks/{task}/data?type=chunk&number=0",
        "/api/tasks/{task}/preview",
        "/api/jobs/{job}/preview",
    ],
)
def test_frames_have_the_cache_control_private(
    client: Client, jobs: list[models.Job], path: str
) -> None:
    answer = client.get(path.format(task=jobs[0].segment.task_id, job=jobs[0].pk))
    assert (answer.status_code, answer["Cache-Control"]) == (200, "private")
    answer.close()


@pytest.mark.parametrize("path", ["/login", "/api/server/about", "/health"])
@pytest.mark.django_db
def test_every_answer_has_a_content_security_policy(path: str) -> None:
    answer = Client().get(path)
    assert "default-src 'self'" in answer["Content-Security-Policy"]
    assert "unsafe" not in answer["Content-Security-Policy"]


def test_body_over_the_limit_answers_413(
    settings: Settings, client: Client, task: models.Task
) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    path = f"/api/tasks/{task.pk}/annotations"
    answer = client.put(path, {"tags": [], "padding": "x" * 100}, "application/json")
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    form = client.post(f"/api/tasks/{task.pk}/data", {"image_quality": "7" * 200})
    assert form.status_code in (409, 413)  # 409: the task already has frames


@pytest.mark.parametrize("count", [25_001, 200_000])
def test_too_many_labels_are_refused_before_they_are_parsed(client: Client, count: int) -> None:
    body = {"name": "many", "labels": [{"name": "l", "attributes": "wrong"}] * count}
    answer = client.post("/api/tasks", body, "application/json")
    assert answer.status_code == 400
    assert "no more than 25000" in str(answer.json()["labels"])


def test_label_with_too_many_attributes_is_refused_before_they_are_parsed(client: Client) -> None:
    body = {"name": "many", "labels": [{"name": "l", "attributes": [None] * 501}]}
    answer = client.post("/api/tasks", body, "application/json")
    assert (answer.status_code, answer.json()["message"]) == (
        400,
        "label 'l': 'attributes' may have 500 items at most",
    )
