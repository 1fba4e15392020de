"""The background thread that refreshes the registry and checks functions whose calls failed."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from django.test import Client
from pytest_django import Settings

from cvat_lambda.errors import PlatformUnreachable
from cvat_lambda.functions import background, registry
from cvat_lambda.functions.models import Function
from cvat_lambda.gateway.endpoints import Endpoint, save_endpoint
from cvat_lambda.gateway.invoke import invoke
from tests.ports import closed_port
from tests.waiting import wait_for

from .fake_nuclio import FakeNuclio, fake_nuclio, function_object

pytestmark = pytest.mark.django_db(transaction=True)
NAME = "cvat-lambda-functions"


def running() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


def wait_for_function(function_id: str) -> None:
    wait_for(f"function {function_id}", Function.objects.filter(pk=function_id).exists)


def wait_for_state(function_id: str, state: str) -> None:
    wait_for(
        f"state {state}", lambda: registry.get(function_id).state, lambda found: found == state
    )


@pytest.fixture(autouse=True)
def _background(nuclio: FakeNuclio, settings: Settings) -> Iterator[None]:
    """Enable the refresh during a test. The thread reads the setting every second, so it ends."""
    settings.CVAT_LAMBDA_FUNCTIONS_REFRESH_S = 1
    yield
    settings.CVAT_LAMBDA_FUNCTIONS_REFRESH_S = 0
    for thread in running():
        thread.join(180)
    assert running() == []


def test_first_http_request_starts_one_thread_that_refreshes(nuclio: FakeNuclio) -> None:
    nuclio.functions = {"a": function_object("a")}
    Client().get("/")
    assert len(running()) == 1
    nuclio.functions["b"] = function_object("b")
    wait_for_function("b")
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
    wait_for("a request to the platform", lambda: nuclio.seen)
    nuclio.functions = {"a": function_object("a")}
    nuclio.list_status = 200
    wait_for_function("a")


def test_endpoint_that_cannot_be_reached_is_unhealthy_until_it_answers(
    nuclio: FakeNuclio, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS = ("127.0.0.1",)
    url = f"http://127.0.0.1:{closed_port()}/"
    save_endpoint(Endpoint(function_id="mine", kind="detector", url=url))
    background.start()
    spec = registry.get("mine")
    with pytest.raises(PlatformUnreachable):
        invoke(spec, b"{}", request_id="r1")
    wait_for_state("mine", "unhealthy")
    with fake_nuclio() as server:
        row = Function.objects.get(pk="mine")
        row.endpoint_url = server.url
        row.save()
        invoke(registry.get("mine"), b"{}", request_id="r2")
        wait_for_state("mine", "ready")
