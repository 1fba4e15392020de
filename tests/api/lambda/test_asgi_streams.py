"""A tracker's call with ``frames`` through uvicorn, the web server of CVAT."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.models import User
from django.core.asgi import get_asgi_application
from django.db import connections
from django.test import Client
from pytest_django import Settings

from cvat_lambda.engine.standalone.models import Task
from cvat_lambda.engine.standalone.tasks import create_task
from tests.integration.interactive.functions import Functions
from tests.integration.requests.conftest import make_images

from .conftest import LABELS
from .test_tracker import RECT, moving

FRAMES = 40

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def address(settings: Settings) -> Iterator[tuple[str, int]]:
    """The address of a uvicorn server with the app."""
    settings.ALLOWED_HOSTS = ["*"]
    application = get_asgi_application()
    config = uvicorn.Config(application, lifespan="off", log_level="error", ws="none")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield listener.getsockname()
        server.should_exit = True
        thread.join()
    connections.close_all()


@contextmanager
def call(
    address: tuple[str, int], user: User, function_id: str, **body: Any
) -> Iterator[HTTPResponse]:
    """Call a function as a user whose browser has logged in. Leave at the end of the block."""
    client = Client()
    client.force_login(user)
    token = "t" * 32
    headers = {
        "Cookie": f"sessionid={client.cookies['sessionid'].value}; csrftoken={token}",
        "X-CSRFToken": token,
        "Content-Type": "application/json",
    }
    path = f"/api/lambda/functions/{function_id}"
    with closing(HTTPConnection(*address, timeout=180)) as connection:
        connection.request("POST", path, json.dumps(body), headers)
        with connection.getresponse() as answer:
            yield answer


def test_asgi_stream_sends_each_frame_before_the_next_one_is_computed(
    functions: Functions, address: tuple[str, int], alice: User, images: list[Any]
) -> None:
    task = create_task(alice, "alice's", LABELS, images)
    gate = threading.Semaphore(1)

    def gated(payload: dict[str, Any]) -> dict[str, Any]:
        assert gate.acquire(timeout=180)
        return moving(payload)

    functions.add("siam", gated, type="tracker", supported_shape_types="rectangle")
    with call(address, alice, "siam", task=task.pk, frame=0, shapes=[RECT], frames=3) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/x-ndjson")
        found = []
        for _ in range(3):
            found.append(json.loads(answer.readline()))
            gate.release()
        assert answer.read() == b""
    assert [item["frame"] for item in found] == [0, 1, 2]
    assert [item["shapes"][0]["points"][0] for item in found] == [2, 3, 4]


def test_asgi_stream_stops_calling_the_function_when_the_client_leaves(
    functions: Functions,
    address: tuple[str, int],
    alice: User,
    tmp_path: Path,
    settings: Settings,
) -> None:
    settings.CVAT_LAMBDA_MAX_CALLS_PER_USER = 1
    task = create_task(alice, "alice's", LABELS, make_images(tmp_path, FRAMES))
    gate = threading.Semaphore(1)

    def gated(payload: dict[str, Any]) -> dict[str, Any]:
        assert gate.acquire(timeout=180)
        return moving(payload)

    functions.add("siam", gated, type="tracker", supported_shape_types="rectangle")
    functions.add("other", moving, type="tracker", supported_shape_types="rectangle")
    body = {"task": task.pk, "frame": 0, "shapes": [RECT], "frames": FRAMES}
    with call(address, alice, "siam", **body) as answer:
        assert json.loads(answer.readline())["frame"] == 0
    for _ in range(FRAMES):
        # The place of the stream is free as soon as the server has noticed.
        with call(address, alice, "other", task=task.pk, frame=0, shapes=[RECT]) as tried:
            if tried.status == 200:
                break
            assert tried.status == 429
        gate.release()
    assert tried.status == 200
    assert len(functions.asked["siam"]) < FRAMES


def test_http_request_leaves_nothing_in_the_scope_of_its_connection(alice: User) -> None:
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/api/lambda/functions",
        "query_string": b"",
        "headers": [(b"host", b"testserver")],
    }
    before = dict(scope)

    async def ask() -> int:
        make: Any = ApplicationCommunicator
        asked = make(get_asgi_application(), scope)
        await asked.send_input({"type": "http.request", "body": b""})
        start = await asked.receive_output(60)
        await asked.wait()
        await sync_to_async(connections.close_all)()
        return int(start["status"])

    assert asyncio.run(ask()) in (401, 403)
    assert scope == before


def test_asgi_stream_is_not_compressed(
    functions: Functions, task: Task, client: Client, alice: User, settings: Settings
) -> None:
    settings.MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware", *settings.MIDDLEWARE]
    functions.add("siam", moving, type="tracker", supported_shape_types="rectangle")
    client.force_login(alice)
    answer = client.post(
        "/api/lambda/functions/siam",
        json.dumps({"task": task.pk, "frame": 0, "shapes": [RECT], "frames": 2}),
        content_type="application/json",
        headers={"Accept-Encoding": "gzip"},
    )
    assert [json.loads(line)["frame"] for line in answer.getvalue().splitlines()] == [0, 1]
