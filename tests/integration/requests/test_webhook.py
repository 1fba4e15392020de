"""The end of a request told to a real HTTP server: signed, patient, and to allowed hosts only."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import django_rq
import pytest

from cvat_lambda.functions.models import Function
from cvat_lambda.gateway.http import pool
from cvat_lambda.requests import jobs, webhook
from cvat_lambda.requests.models import Request

from .conftest import run

Make = Callable[..., Any]
Start = Callable[..., Request]


@dataclass
class Receiver:
    """What arrived, and with which statuses it is answered (then 200)."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def receiver(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A server that the settings name."""
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            found.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            found.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(found.statuses.pop(0) if found.statuses else 200)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    settings.CVAT_LAMBDA_WEBHOOK_URL = found.url
    settings.CVAT_LAMBDA_WEBHOOK_SECRET = "between us"
    settings.CVAT_LAMBDA_WEBHOOK_ALLOWED_HOSTS = ("127.0.0.1/32",)
    monkeypatch.setattr(webhook, "FIRST_DELAY_S", 0.01)
    yield found
    pool.close()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def ended(finder: Function, make_task: Make, start: Start) -> Callable[[], Request]:
    """Run a request to its end."""
    return lambda: run(start(task_id=make_task(2).pk))


def test_the_end_is_told_once_and_signed(receiver: Receiver, ended: Callable[[], Request]) -> None:
    request = ended()
    assert len(django_rq.get_queue("annotation").job_ids) == 2  # the shard, and this
    jobs.deliver_webhook(request.pk)
    jobs.deliver_webhook(request.pk)
    (body,), (headers,) = receiver.bodies, receiver.headers
    told = json.loads(body)
    assert (told["request"], told["status"], told["error"]) == (request.pk, "finished", None)
    assert told["frames"] == {"total": 2, "done": 2, "failed": 0, "skipped": 0}
    timestamp = headers["x-cvat-lambda-timestamp"]
    assert headers["x-cvat-lambda-signature"] == webhook.sign("between us", timestamp, body)
    assert headers["x-cvat-lambda-signature"] != webhook.sign("another", timestamp, body)


def test_a_receiver_that_is_away_is_tried_again(
    receiver: Receiver, ended: Callable[[], Request]
) -> None:
    receiver.statuses = [500, 503]
    assert webhook.deliver(ended().pk)
    assert len(receiver.bodies) == 3


@pytest.mark.parametrize(("status", "tries"), [(302, 1), (404, 1), (500, webhook.ATTEMPTS)])
def test_redirects_are_not_followed_and_refusals_end_it(
    receiver: Receiver, ended: Callable[[], Request], status: int, tries: int
) -> None:
    receiver.statuses = [status] * 20
    request = ended()
    assert not webhook.deliver(request.pk)
    assert len(receiver.bodies) == tries
    request.refresh_from_db()
    assert request.notified_at is not None


def test_a_host_that_is_not_allowed_gets_nothing(
    receiver: Receiver, ended: Callable[[], Request], settings: Any
) -> None:
    settings.CVAT_LAMBDA_WEBHOOK_ALLOWED_HOSTS = ("hooks.example.org",)
    assert not webhook.deliver(ended().pk)
    assert receiver.bodies == []
