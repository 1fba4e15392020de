"""Bodies of clients that do not say how long they are: curl of a pipe, a program that streams."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from PIL import Image

from cvat_lambda.engine.standalone.models import AccessToken, Label, LabeledShape, Task
from cvat_lambda.engine.standalone.tasks import create_task
from tests.e2e.conftest import Server


@pytest.fixture
def task(transactional_db: None, alice: User, tmp_path: Path) -> Task:
    """Alice's, of one frame with one shape."""
    Image.new("RGB", (32, 24)).save(tmp_path / "0.png")
    task = create_task(alice, "task", ["car"], [tmp_path / "0.png"])
    label = Label.objects.get(task=task)
    points: Any = [1, 1, 9, 9]
    LabeledShape.objects.create(task=task, label=label, frame=0, type="rectangle", points=points)
    return task


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/api/tasks/{task}/annotations"),  # nothing in the place of what is there
        ("POST", "/api/lambda/requests"),
    ],
)
def test_a_body_in_chunks_is_refused_and_not_taken_for_an_empty_one(
    server: Server, alice: User, task: Task, method: str, path: str
) -> None:
    _, token = AccessToken.create(alice, name="program")
    body: dict[str, Any] = {"function": "any", "task": task.pk, "shapes": []}
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    connection.request(
        method,
        path.format(task=task.pk),
        iter([json.dumps(body).encode()]),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        encode_chunked=True,
    )
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["detail"]) == (
        411,
        "The body must come with a Content-Length: none of it was read.",
    )
    connection.close()
    assert LabeledShape.objects.filter(task=task).count() == 1
