"""What administrators do with a function on its page, against a fake platform over HTTP."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from cvat_lambda.functions.models import Function
from cvat_lambda.functions.refresh import refresh
from tests.conftest import ClientFor
from tests.http_server import Reply

from .fake_nuclio import FakeNuclio, function_object

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(nuclio: FakeNuclio, client_for: ClientFor) -> Client:
    """An administrator; the platform has the function "a"."""
    nuclio.functions = {"a": function_object("a")}
    refresh()
    return client_for(User.objects.create_superuser("root"))


def said(client: Client, action: str) -> str:
    """Return the page after an action."""
    return client.post("/functions/a", {"action": action}, follow=True).content.decode()


def test_check_says_that_the_function_works(admin: Client, nuclio: FakeNuclio) -> None:
    assert "The function works: " in said(admin, "check")
    assert len(nuclio.invocations()) == 1


def test_check_shows_why_the_function_does_not_work(admin: Client, nuclio: FakeNuclio) -> None:
    nuclio.script = [Reply(400, b"no such model")]
    page = said(admin, "check")
    assert "The function works" not in page
    assert "no such model" in page


def test_disabled_function_is_offered_again(admin: Client) -> None:
    said(admin, "disable")
    assert not Function.objects.get(pk="a").enabled
    assert "The function is offered again." in said(admin, "enable")
    assert Function.objects.get(pk="a").enabled


def test_redeployment_sends_the_function_as_the_platform_has_it(
    admin: Client, nuclio: FakeNuclio
) -> None:
    assert "The function is being deployed again." in said(admin, "redeploy")
    (sent,) = [request for request in nuclio.seen if request.method == "PUT"]
    assert sent.path == "/api/functions/a"
    expected = function_object("a")
    assert sent.json() == {"metadata": expected["metadata"], "spec": expected["spec"]}


def test_unknown_action_answers_400_and_names_the_known_ones(admin: Client) -> None:
    answer = admin.post("/functions/a", {"action": "explode"})
    assert answer.status_code == 400
    assert "the action must be check" in answer.content.decode()


@pytest.mark.parametrize("action", ["check", "enable", "disable", "redeploy"])
def test_action_of_a_user_who_is_no_administrator_changes_nothing(
    admin: Client, nuclio: FakeNuclio, client_for: ClientFor, alice: User, action: str
) -> None:
    before = len(nuclio.seen)
    answer = client_for(alice).post("/functions/a", {"action": action})
    assert answer.status_code == 403
    assert len(nuclio.seen) == before
    assert Function.objects.get(pk="a").enabled
