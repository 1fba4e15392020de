"""What clients say besides path and body: what they accept, and whose things they mean."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

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
def test_who_asks_for_pictures_alone_gets_them(
    client: Client, jobs: list[models.Job], accept: str, path: str, kind: str
) -> None:
    path = path.format(task=jobs[0].segment.task_id, job=jobs[0].pk)
    answer = client.get(path, headers={"Accept": accept})
    assert (answer.status_code, answer["Content-Type"]) == (200, kind)
    answer.close()


def test_what_is_wrong_with_a_picture_is_told_as_json(client: Client, task: models.Task) -> None:
    path = f"/api/tasks/{task.pk}/data?type=frame&number=77"
    answer = client.get(path, headers={"Accept": "image/jpeg"})
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/vnd.cvat+json")


@pytest.mark.parametrize("path", ["annotations", "data/meta"])
def test_head_is_answered_as_get_is(
    client: Client, bob: User, jobs: list[models.Job], path: str
) -> None:
    models.Job.objects.filter(pk=jobs[0].pk).update(assignee=bob)
    task = f"/api/tasks/{jobs[0].segment.task_id}"
    assert client.head(f"{task}/{path}").status_code == 200
    assert client.head(f"/api/jobs/{jobs[0].pk}/{path}").status_code == 200
    client.force_login(bob)  # who may look at the task, and not change it
    assert client.head(f"{task}/{path}").status_code == 200


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?org=acme", {}),  # cvat-ui
        ("?org_id=7", {}),
        ("", {"X-Organization": "acme"}),  # cvat-cli --org acme, cvat-sdk
    ],
)
def test_nothing_is_made_or_shown_for_an_organization_that_is_not_there(
    client: Client, task: models.Task, query: str, headers: dict[str, str]
) -> None:
    body: dict[str, Any] = {"name": "acme's"}
    made = client.post(f"/api/tasks{query}", body, "application/json", headers=headers)
    shown = client.get(f"/api/tasks{query}", headers=headers)
    assert (made.status_code, shown.status_code) == (404, 404)
    assert "this server has none" in made.json()["detail"]
    assert list(models.Task.objects.all()) == [task]


@pytest.mark.parametrize(("query", "headers"), [("?org=", {}), ("", {"X-Organization": ""})])
def test_who_names_no_organization_sees_their_own(
    client: Client, task: models.Task, query: str, headers: dict[str, str]
) -> None:
    shown = client.get(f"/api/tasks{query}", headers=headers).json()
    assert [row["id"] for row in shown["results"]] == [task.pk]
