"""The background thread that refreshes the registry and checks functions whose calls failed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client

from cvat_lambda.errors import PlatformUnreachable
from cvat_lambda.functions import background, registry
from cvat_lambda.functions.models import Function
from cvat_lambda.gateway.endpoints import Endpoint, save_endpoint
from cvat_lambda.gateway.invoke import invoke
from tests.ports import closed_port

from .fake_nuclio import FakeNuclio, fake_nuclio, function_object

pytestmark = pytest.mark.django_db(transaction=True)
NAME = "cvat-lambda-functions"


def running() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


def until(holds: Callable[[], bool]) -> None:
    pause, deadline = threading.Event(), time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        pause.wait(0.02)


@pytest.fixture(autouse=True)
def _background(nuclio: FakeNuclio, settings: Any) -> Iterator[None]:
    """Enable the refresh during a test. The thread reads the setting every second, so it ends."""
    settings.CVAT_LAMBDA_FUNCTIONS_REFRESH_S = 1
    yield
    settings.CVAT_LAMBDA_FUNCTIONS_REFRESH_S = 0
    for thread in running():
        thread.join(20)
    assert running() == []


def test_first_http_request_starts_one_thread_that_refreshes(nuclio: FakeNuclio) -> None:
    nuclio.functions = {"a": function_object("a")}
    Client().get("/")
    assert len(running()) == 1
    nuclio.functions["b"] = function_object("b")
    until(lambda: Function.objects.filter(pk="b").exists())
    Client().get("/")
    assert len(running()) == 1


def test_look_up_starts_no_thread(nuclio: FakeNuclio) -> None:
    nuclio.functions = {"a": function_object("a")}
    assert [spec.id for spec in registry.listed()] == ["a"]
    assert registry.get("a").id == "a"
    assert running() == []


def test_thread_continues_after_the_platform_was_down(nuclio: FakeNuclio) -> None:
    nuclio.list_status = 500
    background.start()
    until(lambda: len(nuclio.seen) >= 1)
    nuclio.functions = {"a": function_object("a")}
    nuclio.list_status = 200
    until(lambda: Function.objects.filter(pk="a").exists())


def test_endpoint_that_cannot_be_reached_is_unhealthy_until_it_answers(
    nuclio: FakeNuclio, settings: Any
) -> None:
    settings.CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS = ("127.0.0.1",)
    url = f"http://127.0.0.1:{closed_port()}/"
    save_endpoint(Endpoint(function_id="mine", kind="detector", url=url))
    background.start()
    spec = registry.get("mine")
    with pytest.raises(PlatformUnreachable):
        invoke(spec, b"{}", request_id="r1")
    until(lambda: registry.get("mine").state == "unhealthy")
    with fake_nuclio() as server:
        row = Function.objects.get(pk="mine")
        row.endpoint_url = server.url
        row.save()
        invoke(registry.get("mine"), b"{}", request_id="r2")
        until(lambda: registry.get("mine").state == "ready")
