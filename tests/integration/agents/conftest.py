from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from PIL import Image
from pytest_django import Settings

from cvat_lambda.agents import streams
from cvat_lambda.agents.wakeups import get_wakeups
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.access import StandaloneAccess
from cvat_lambda.engine.standalone.tasks import create_task
from cvat_lambda.requests import rq_tasks
from cvat_lambda.requests.control.create import create_request
from cvat_lambda.requests.store.models import Request

from .scripted import CAR, Answer, ScriptedAgent

SIZE = (64, 48)
ClientFor = Callable[["User | None"], Client]


@pytest.fixture(autouse=True)
def limits(settings: Settings, clean_redis: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A short wait for agents, a long one for Redis; a subscription of its own for each test."""
    monkeypatch.setattr(streams, "CONNECT_S", 180.0)
    settings.CVAT_LAMBDA_FUNCTIONS_REFRESH_S = 0
    settings.CVAT_LAMBDA_AGENT_LEASE_S = 120.0
    settings.CVAT_LAMBDA_COLD_START_S = 3.0
    yield
    get_wakeups().stop()


@pytest.fixture
def task(transactional_db: None, alice: User, tmp_path: Path) -> models.Task:
    """A task of alice with six frames and the label "car"."""
    files = []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", SIZE, (number * 40, 0, 0)).save(path)
        files.append(path)
    return create_task(alice, "street", [CAR], files)


@pytest.fixture
def car_id(task: models.Task) -> int:
    """The id of the task's label."""
    return models.Label.objects.get(task=task).pk


def create(client: Client, **fields: Any) -> Any:
    """Create a native function as cvat-cli does; return the response."""
    body = {
        "provider": "native",
        "name": "finder",
        "visibility": "private",
        "kind": "detector",
        "labels_v2": [CAR],
        **fields,
    }
    if body["kind"] != "detector":
        del body["labels_v2"]
    return client.post("/api/functions", json.dumps(body), content_type="application/json")


@pytest.fixture
def native_pk(transactional_db: None, client_for: ClientFor, alice: User) -> int:
    """A private detector of alice."""
    response = create(client_for(alice))
    assert response.status_code == 201, response.content
    return int(response.json()["id"])


@pytest.fixture
def agent(client_for: ClientFor, alice: User, native_pk: int) -> ScriptedAgent:
    """An agent of alice's detector."""
    return ScriptedAgent(client_for(alice), native_pk)


@pytest.fixture
def call(
    client_for: ClientFor, alice: User, native_pk: int, task: models.Task
) -> Callable[..., Any]:
    """Return a function that calls the detector as alice for a frame of the task."""
    client = client_for(alice)

    def make(function_id: str = f"native-{native_pk}", **fields: Any) -> Any:
        body = {"task": task.pk, "frame": 0, **fields}
        return client.post(
            f"/api/lambda/functions/{function_id}",
            json.dumps(body),
            content_type="application/json",
        )

    return make


@pytest.fixture
def start(alice: User, native_pk: int, task: models.Task) -> Callable[..., Request]:
    """Return a function that creates a request of the detector on the task as alice."""

    def make(**options: Any) -> Request:
        defaults = {"function_id": f"native-{native_pk}", "task_id": task.pk}
        return create_request(StandaloneAccess(alice), **{**defaults, **options})

    return make


def run(request: Request) -> Request:
    """Run all shards of a request in this process, as a worker would."""
    for shard in request.shards.order_by("index"):
        rq_tasks.run_shard(shard.pk)
    request.refresh_from_db()
    return request


__all__ = ["Answer", "create", "run"]
