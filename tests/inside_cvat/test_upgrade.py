"""The change from CVAT's own app to this one while a request of CVAT is queued."""

from __future__ import annotations

import json
from collections.abc import Iterator

import django_rq
import pytest
from pytest_django import Settings

from tests.http_server import HttpRequest, Reply, http_server, json_reply
from tests.inside_cvat.scenarios import CvatScenarios
from tests.inside_cvat.test_requests import boxes_of, image_number, left_edges, rolled_back

pytestmark = pytest.mark.django_db(transaction=True)

FUNCTION = {
    "metadata": {
        "name": "cars",
        "annotations": {
            "type": "detector",
            "spec": json.dumps([{"name": "car", "type": "rectangle"}]),
        },
    },
    "spec": {"description": "a rectangle a frame"},
    "status": {"state": "ready"},
}
ENQUEUE = """
import json
import sys
import django
django.setup()
from django.conf import settings
from django.contrib.auth.models import User
from rest_framework.test import APIClient
settings.RQ_QUEUES["annotation"]["ASYNC"] = True
client = APIClient()
client.force_login(User.objects.get(username="alice"))
body = {"function": "cars", "task": int(sys.argv[1]), "mapping": {"car": {"name": "car"}}}
answer = client.post("/api/lambda/requests", {**body, "cleanup": False}, format="json")
print(json.dumps([answer.status_code, answer.json()["id"]]))
"""


def dashboard(request: HttpRequest) -> Reply:
    """Answer as a Nuclio dashboard with one function."""
    if request.method == "GET":
        return json_reply(FUNCTION)
    return json_reply(boxes_of(image_number(request.json())))


@pytest.fixture
def nuclio(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[None]:
    """The platform of CVAT's own app and of this one."""
    with http_server(dashboard) as server:
        named = {"HOST": "127.0.0.1", "PORT": server.port, "INVOKE_METHOD": "dashboard"}
        for name, value in named.items():
            monkeypatch.setenv(f"CVAT_NUCLIO_{name}", str(value))
        settings.NUCLIO = {**settings.NUCLIO, **named}
        yield


def test_queued_request_of_cvats_own_app_is_run_by_cvats_own_code(
    cvat: CvatScenarios, nuclio: None
) -> None:
    """The RQ job is on the queue that this app uses as well."""
    task_id = cvat.task(frames=3)
    status, request_id = json.loads(rolled_back(ENQUEUE, task_id))
    assert status == 200
    # It is not listed as a request of this app.
    assert cvat.send("get", "/api/lambda/requests") == []
    for method in ("get", "delete"):
        answer = cvat.try_to_send(method, f"/api/lambda/requests/{request_id}")
        assert answer.status_code == 404
    assert cvat.try_to_send("get", "/api/requests").status_code == 200

    waiting = django_rq.get_queue("annotation").fetch_job(request_id)
    assert waiting is not None
    waiting.perform()  # as a worker does
    assert left_edges(cvat, f"tasks/{task_id}") == [(0, 0.0), (1, 1.0), (2, 2.0)]
