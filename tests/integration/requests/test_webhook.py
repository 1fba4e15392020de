"""Webhooks to a real HTTP server: signed, retried, and to allowed hosts only."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from datetime import timezone as timezones
from typing import Any

import django_rq
import pytest
from django.contrib import admin as django_admin
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from cvat_lambda.functions.models import Function
from cvat_lambda.gateway.gateway import get_gateway
from cvat_lambda.requests import rq_tasks
from cvat_lambda.requests.admin import RequestAdmin
from cvat_lambda.requests.control import webhook
from cvat_lambda.requests.control.recover import recover
from cvat_lambda.requests.control.retry import retry_request
from cvat_lambda.requests.store.models import Request
from tests.http_server import HttpRequest, Reply, http_server

from .conftest import MakeTask, Start, run
from .function_server import FunctionServer, frame_of, rectangle_of

HOOKS = "hooks.example.org"
MOMENT = datetime(2026, 5, 4, 3, 2, tzinfo=timezones.utc)


@dataclass
class Receiver:
    """The received requests, and the statuses of the next answers. After these it answers 200."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    on_arrival: Callable[[], object] | None = None  # called before the first answer


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    """A webhook server that the settings name."""
    found = Receiver()

    def answer(request: HttpRequest) -> Reply:
        found.bodies.append(request.body)
        found.headers.append(request.headers)
        happens, found.on_arrival = found.on_arrival, None
        if happens is not None:
            happens()
            connection.close()
        status = found.statuses.pop(0) if found.statuses else 200
        return Reply(status, headers={"Location": "http://127.0.0.1:1/elsewhere"})

    with http_server(answer) as server:
        found.url = f"{server.url}/hook"
        settings.CVAT_LAMBDA_WEBHOOK_URL = found.url
        settings.CVAT_LAMBDA_WEBHOOK_SECRET = "between us"
        settings.CVAT_LAMBDA_WEBHOOK_ALLOWED_HOSTS = ("127.0.0.1/32",)
        yield found
        get_gateway().reset()


@pytest.fixture
def ended(finder: Function, make_task: MakeTask, start: Start) -> Callable[[], Request]:
    """Return a request that has ended."""
    return lambda: run(start(task_id=make_task(2).pk))


def test_webhook_is_delivered_once_and_signed(
    receiver: Receiver, ended: Callable[[], Request]
) -> None:
    request = ended()
    assert len(django_rq.get_queue("annotation").job_ids) == 2  # the shard and the webhook
    rq_tasks.deliver_webhook(request.pk)
    rq_tasks.deliver_webhook(request.pk)
    (body,), (headers,) = receiver.bodies, receiver.headers
    told = json.loads(body)
    assert (told["request"], told["status"], told["error"]) == (request.pk, "finished", None)
    assert told["frames"] == {"total": 2, "done": 2, "failed": 0, "skipped": 0}
    timestamp = headers["x-cvat-lambda-timestamp"]
    assert headers["x-cvat-lambda-signature"] == webhook.sign("between us", timestamp, body)
    assert headers["x-cvat-lambda-signature"] != webhook.sign("another", timestamp, body)


def due_now() -> None:
    """End the pause before the next attempt."""
    waiting = Request.objects.filter(webhook_next_at__isnull=False)
    waiting.update(webhook_next_at=timezone.now() - timedelta(seconds=1))


def webhook_jobs() -> list[str]:
    """Return the queued RQ jobs of webhooks."""
    return [name for name in django_rq.get_queue("annotation").job_ids if "-webhook-" in name]


def test_failed_webhook_is_retried_by_recovery(
    receiver: Receiver, ended: Callable[[], Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "FIRST_PAUSE_S", 3600.0)  # nothing waits for it
    receiver.statuses = [500, 503]
    request = ended()
    assert not webhook.deliver(request.pk)
    assert not webhook.deliver(request.pk)  # it is not due yet
    assert len(receiver.bodies) == 1
    due_now()
    assert not webhook.deliver(request.pk)
    due_now()
    assert webhook.deliver(request.pk)
    assert len(receiver.bodies) == 3
    request.refresh_from_db()
    assert (request.webhook_attempts, request.webhook_next_at) == (3, None)
    assert request.notified_at is not None
    assert request.webhook_given_up_at is None


def test_webhook_is_given_up_after_about_a_day(
    receiver: Receiver, ended: Callable[[], Request]
) -> None:
    receiver.statuses = [500] * 20
    request = ended()
    pauses = []
    for _ in range(webhook.ATTEMPTS):
        due_now()
        assert not webhook.deliver(request.pk)
        request.refresh_from_db()
        if request.webhook_next_at is not None:
            pauses.append((request.webhook_next_at - timezone.now()).total_seconds())
    assert pauses == sorted(pauses)
    assert len(pauses) == webhook.ATTEMPTS - 1
    assert 18 * 3600 < sum(pauses) < 30 * 3600
    assert (request.notified_at, request.webhook_next_at) == (None, None)
    assert request.webhook_given_up_at is not None
    assert not webhook.deliver(request.pk)
    recover()
    assert len(receiver.bodies) == webhook.ATTEMPTS


@pytest.mark.parametrize("status", [302, 404])
def test_webhook_answered_with_redirect_or_refusal_is_given_up(
    receiver: Receiver, ended: Callable[[], Request], status: int
) -> None:
    receiver.statuses = [status] * 20
    request = ended()
    assert not webhook.deliver(request.pk)
    request.refresh_from_db()
    assert (request.notified_at, request.webhook_next_at) == (None, None)
    assert request.webhook_given_up_at is not None
    due_now()
    assert not webhook.deliver(request.pk)
    assert len(receiver.bodies) == 1


def test_request_that_is_retried_during_a_delivery_gets_a_second_webhook(
    receiver: Receiver,
    finder: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
) -> None:
    function.behave = lambda payload: (
        Reply(status=500, body=b'Exception caught in handler - "no"')
        if frame_of(payload) == 1
        else rectangle_of(frame_of(payload))
    )
    request = run(start(task_id=make_task(3).pk))
    receiver.on_arrival = lambda: retry_request(Request.objects.get(pk=request.pk))
    rq_tasks.deliver_webhook(request.pk)
    function.behave = lambda payload: rectangle_of(frame_of(payload))
    request = run(request)
    assert (request.status, request.notified_at) == ("finished", None)
    assert len(webhook_jobs()) == 2  # one for each end
    rq_tasks.deliver_webhook(request.pk)
    told = [json.loads(body)["frames"] for body in receiver.bodies]
    assert [(frames["done"], frames["failed"]) for frames in told] == [(2, 1), (3, 0)]
    request.refresh_from_db()
    assert (request.notified_at is not None, request.webhook_attempts) == (True, 1)


def test_webhook_is_put_at_the_front_of_the_queue(
    receiver: Receiver, make_task: MakeTask, start: Start, ended: Callable[[], Request]
) -> None:
    waiting = start(task_id=make_task(1).pk).shards.get()
    ended()
    found = list(django_rq.get_queue("annotation").job_ids)
    assert found.index(webhook_jobs()[0]) == 0
    assert waiting.rq_job_id in found


def test_recovery_sends_a_due_webhook_once(
    receiver: Receiver, ended: Callable[[], Request]
) -> None:
    request = ended()
    for minutes in range(3, 20):
        late = timezone.now() - timedelta(minutes=minutes)
        Request.objects.update(webhook_next_at=late)
        recover()
        assert len(webhook_jobs()) == 1
    receiver.statuses = [500]
    webhook.deliver(request.pk)
    django_rq.get_connection("annotation").flushall()
    recover()
    assert webhook_jobs() == []  # it is not due yet
    due_now()
    recover()
    recover()
    assert len(webhook_jobs()) == 1


def test_webhook_attempt_is_sent_by_only_one_of_two_workers(
    receiver: Receiver, ended: Callable[[], Request]
) -> None:
    request = ended()
    second: list[bool] = []
    receiver.on_arrival = lambda: second.append(webhook.deliver(request.pk))
    assert webhook.deliver(request.pk)
    assert second == [False]
    assert len(receiver.bodies) == 1


def test_request_without_webhook_url_has_no_due_webhook(ended: Callable[[], Request]) -> None:
    request = ended()
    assert (request.status, request.webhook_next_at) == ("finished", None)
    assert webhook_jobs() == []


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({}, ""),
        ({"webhook_next_at": MOMENT, "webhook_attempts": 1}, "attempt 2 due at 2026-05-04 03:02"),
        (
            {"notified_at": MOMENT, "webhook_attempts": 2},
            "delivered at 2026-05-04 03:02, attempt 2",
        ),
        ({"webhook_given_up_at": MOMENT, "webhook_attempts": 9}, "given up after 9 attempts"),
    ],
)
def test_admin_shows_the_state_of_the_webhook(values: dict[str, Any], shown: str) -> None:
    admin = RequestAdmin(Request, django_admin.site)
    assert admin.webhook(Request(**values)) == shown


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the resolver return these addresses, one after the other."""
    of_the_machine = socket.getaddrinfo

    def answers(*addresses: str) -> None:
        left = list(addresses)

        def getaddrinfo(host: str, port: int, *args: Any, **options: Any) -> Any:
            if host != HOOKS:
                return of_the_machine(host, port, *args, **options)
            address = left.pop(0) if len(left) > 1 else left[0]
            return of_the_machine(address, port, *args, **options)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return answers


def test_webhook_host_is_resolved_once(
    receiver: Receiver,
    ended: Callable[[], Request],
    settings: Settings,
    resolve: Callable[..., None],
) -> None:
    request = ended()
    settings.CVAT_LAMBDA_WEBHOOK_URL = receiver.url.replace("127.0.0.1", HOOKS)
    resolve("127.0.0.1", "127.0.0.254")
    assert webhook.deliver(request.pk)
    assert receiver.headers[0]["host"].startswith(f"{HOOKS}:")


def test_webhook_to_a_loopback_address_is_refused_for_a_host_name(
    receiver: Receiver,
    ended: Callable[[], Request],
    settings: Settings,
    resolve: Callable[..., None],
) -> None:
    request = ended()
    settings.CVAT_LAMBDA_WEBHOOK_URL = receiver.url.replace("127.0.0.1", HOOKS)
    settings.CVAT_LAMBDA_WEBHOOK_ALLOWED_HOSTS = (HOOKS,)
    resolve("127.0.0.1")
    assert not webhook.deliver(request.pk)
    assert receiver.bodies == []
    request.refresh_from_db()
    assert request.webhook_given_up_at is not None  # a retry would not help


def test_webhook_to_a_host_that_is_not_allowed_is_not_sent(
    receiver: Receiver, ended: Callable[[], Request], settings: Settings
) -> None:
    settings.CVAT_LAMBDA_WEBHOOK_ALLOWED_HOSTS = (HOOKS,)
    assert not webhook.deliver(ended().pk)
    assert receiver.bodies == []
