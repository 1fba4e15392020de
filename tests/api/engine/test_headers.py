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
