"""Chunked request bodies, such as those of `curl` with a pipe, or of a program that streams."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.test import Client
from PIL import Image

from cvat_lambda.engine.standalone.models import AccessToken, Label, LabeledShape, Task
from cvat_lambda.engine.standalone.tasks import create_task
from tests.e2e.conftest import Server


@pytest.fixture
def task(transactional_db: None, alice: User, tmp_path: Path) -> Task:
    """A task of alice with one frame and one shape."""
    Image.new("RGB", (32, 24)).save(tmp_path / "0.png")
    task = create_task(alice, "task", ["car"], [tmp_path / "0.png"])
    label = Label.objects.get(task=task)
    points: Any = [1, 1, 9, 9]
    LabeledShape.objects.create(task=task, label=label, frame=0, type="rectangle", points=points)
    return task


def test_a_chunked_body_is_read_completely(server: Server, alice: User, task: Task) -> None:
    """The web server buffers the body, so that Django gets its length."""
    _, token = AccessToken.create(alice, name="program")
    body: dict[str, Any] = {"version": 0, "tags": [], "shapes": [], "tracks": []}
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=180)
    connection.request(
        "PUT",
        f"/api/tasks/{task.pk}/annotations",
        iter([json.dumps(body)[:20].encode(), json.dumps(body)[20:].encode()]),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        encode_chunked=True,
    )
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["shapes"]) == (200, [])
    connection.close()
    assert LabeledShape.objects.filter(task=task).count() == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/api/tasks/{task}/annotations"), ("POST", "/api/lambda/requests")],
)
def test_a_body_without_a_length_is_refused(
    client: Client, alice: User, task: Task, method: str, path: str
) -> None:
    """Other web servers pass chunked bodies on, and Django reads these as empty."""
    client.force_login(alice)
    answer = client.generic(
        method,
        path.format(task=task.pk),
        b"",
        content_type="application/json",
        HTTP_TRANSFER_ENCODING="chunked",
    )
    assert answer.status_code == 411
    assert "Content-Length" in answer.json()["detail"]
    assert LabeledShape.objects.filter(task=task).count() == 1
