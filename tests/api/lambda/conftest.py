"""Fixtures: a task of three frames in two jobs, a function platform, and clients of users."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from PIL import Image
from pytest_django import Settings

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.tasks import create_task
from tests.conftest import ClientFor
from tests.integration.interactive.functions import Functions, known_functions

LABELS = [
    {"name": "car", "type": "any", "attributes": []},
    {"name": "person", "type": "any", "attributes": []},
]
SIZE = (64, 48)
BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101"}


@pytest.fixture
def functions(settings: Settings, db: None) -> Iterator[Functions]:
    """A real HTTP function platform without functions. Each test adds its own."""
    with known_functions(settings) as served:
        yield served


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Three images. Each has a different grey."""
    paths = []
    for number in range(3):
        buffer = io.BytesIO()
        Image.new("RGB", SIZE, (number * 50 + 20,) * 3).save(buffer, "PNG")
        path = tmp_path / f"{number}.png"
        path.write_bytes(buffer.getvalue())
        paths.append(path)
    return paths


@pytest.fixture
def task(alice: User, images: list[Path]) -> models.Task:
    """A task of alice. Frames 0 and 1 are in its first job, frame 2 is in its second."""
    return create_task(alice, "alice's", LABELS, images, segment_size=2)


@pytest.fixture
def other_task(alice: User, images: list[Path]) -> models.Task:
    """A second task of alice, with one frame."""
    return create_task(alice, "other", LABELS, images[:1])


@pytest.fixture
def jobs(task: models.Task) -> list[int]:
    """Ids of the task's jobs."""
    found = models.Job.objects.filter(segment__task=task).order_by("pk")
    return list(found.values_list("pk", flat=True))


@dataclass
class Api:
    """A client of the lambda API, logged in as one user."""

    client: Client

    def get(self, path: str, headers: dict[str, str] | None = None) -> Any:
        return self.client.get(f"/api/lambda/{path}", headers=headers)

    def post(self, path: str, body: object = None, headers: dict[str, str] | None = None) -> Any:
        text = body if isinstance(body, (str, bytes)) else json.dumps(body or {})
        return self.client.post(
            f"/api/lambda/{path}", text, content_type="application/json", headers=headers
        )

    def delete(self, path: str) -> Any:
        return self.client.delete(f"/api/lambda/{path}")

    def call(self, function_id: str, **body: object) -> Any:
        return self.post(f"functions/{function_id}", body)


ApiOf = Callable[[User | None], Api]


@pytest.fixture
def api_of(client_for: ClientFor) -> ApiOf:
    """Return a function that makes a client of the lambda API for a user, or an anonymous one."""
    return lambda user: Api(client_for(user))


@pytest.fixture
def api(alice: User, api_of: ApiOf) -> Api:
    """A client of the lambda API, logged in as alice."""
    return api_of(alice)


@pytest.fixture(autouse=True)
def _static_root(settings: Settings) -> None:
    Path(settings.STATIC_ROOT).mkdir(exist_ok=True)  # WhiteNoise warns about a missing folder
