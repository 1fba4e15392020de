"""Requests that a real RQ worker of CVAT runs in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from cvat_lambda import signals
from cvat_lambda.engine.conformance import LABELS
from tests.http_server import HttpRequest, Reply, http_server
from tests.inside_cvat import test_requests
from tests.inside_cvat.scenarios import CvatScenarios, label_to_json
from tests.inside_cvat.test_requests import left_edges
from tests.integration.requests.function_server import FunctionServer

Json = dict[str, Any]

pytestmark = pytest.mark.django_db(transaction=True)

function = test_requests.function
WEBHOOK_EVENTS = ("update:job", "update:task", "update:project")


@pytest.fixture
def received() -> Iterator[tuple[str, list[Json]]]:
    """The URL of a receiver of webhooks, and the payloads that it has received."""
    payloads: list[Json] = []

    def receive(request: HttpRequest) -> Reply:
        payloads.append(request.json())
        return Reply()

    with http_server(receive) as server:
        yield f"{server.url}/", payloads


@pytest.fixture
def queued(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """RQ jobs of the queues wait for a worker."""
    for name in ("annotation", "webhooks"):
        monkeypatch.setitem(settings.RQ_QUEUES[name], "ASYNC", True)


def project_with_webhook(cvat: CvatScenarios, url: str, *, frames: int) -> tuple[int, int]:
    """A project with a webhook for each event, and its one task."""
    labels = [label_to_json(label) for label in LABELS]
    project_id = cvat.send("post", "/api/projects", {"name": "p", "labels": labels})["id"]
    task_id = cvat.task(frames=frames, project_id=project_id)
    webhook = {
        "target_url": url,
        "type": "project",
        "project_id": project_id,
        "content_type": "application/json",
        "events": list(WEBHOOK_EVENTS),
        "is_active": True,
    }
    cvat.send("post", "/api/webhooks", webhook)
    return project_id, task_id


def run_worker(*queues: str) -> str:
    """Run CVAT's worker until the queues are empty. Return what it logged as an error."""
    child = subprocess.run(
        [
            sys.executable,
            str(Path(os.environ["CVAT_SOURCE"]) / "manage.py"),
            "rqworker",
            *queues,
            "--burst",
            "--worker-class",
            "cvat.rqworker.DefaultWorker",
        ],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.inside_cvat.server_settings",
            "CVAT_POSTGRES_DBNAME": str(connection.settings_dict["NAME"]),
        },
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    output = child.stdout + child.stderr
    assert child.returncode == 0, output[-2000:]
    return "\n".join(line for line in output.splitlines() if "ERROR" in line or "Error" in line)


def test_webhooks_of_a_request_are_delivered_by_a_real_worker(
    cvat: CvatScenarios,
    function: FunctionServer,
    received: tuple[str, list[Json]],
    queued: None,
) -> None:
    url, payloads = received
    project_id, task_id = project_with_webhook(cvat, url, frames=3)
    made = cvat.send("post", "/api/lambda/requests", {"function": "cars", "task": task_id})
    assert payloads == []
    assert run_worker("annotation", "webhooks") == ""
    assert cvat.send("get", f"/api/lambda/requests/{made['id']}")["status"] == "finished"
    assert left_edges(cvat, f"tasks/{task_id}") == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert sorted(payload["event"] for payload in payloads) == sorted(WEBHOOK_EVENTS)
    assert {payload["sender"]["username"] for payload in payloads} == {"alice"}
    (of_project,) = (payload for payload in payloads if payload["event"] == "update:project")
    assert of_project["project"]["id"] == project_id


def test_webhooks_of_a_request_that_ends_outside_a_worker_are_sent(
    cvat: CvatScenarios,
    function: FunctionServer,
    received: tuple[str, list[Json]],
    queued: None,
) -> None:
    """`recover_requests` ends requests without an RQ job and without an HTTP request."""
    from cvat_lambda.models import Request

    url, payloads = received
    _, task_id = project_with_webhook(cvat, url, frames=1)
    made = cvat.send("post", "/api/lambda/requests", {"function": "cars", "task": task_id})
    assert run_worker("annotation", "webhooks") == ""
    payloads.clear()
    answers = signals.request_finished.send_robust(
        sender=Request, request=Request.objects.get(pk=made["id"])
    )
    assert [answer for _, answer in answers if isinstance(answer, Exception)] == []
    assert run_worker("webhooks") == ""
    assert sorted(payload["event"] for payload in payloads) == sorted(WEBHOOK_EVENTS)
    assert {payload["sender"]["username"] for payload in payloads} == {"alice"}
