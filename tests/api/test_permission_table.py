"""The cases of a table of permissions are tried one by one, and each wrong one is named."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path

from tests.conftest import ClientFor
from tests.permission_table import Row, wrong_cases

pytestmark = pytest.mark.urls(__name__)


def create(request: HttpRequest) -> HttpResponse:
    """Answer 201 if the group was created, 200 if it was there."""
    return HttpResponse(status=201 if Group.objects.get_or_create(name="new")[1] else 200)


def fail(request: HttpRequest) -> HttpResponse:
    raise ValueError("the view failed")


urlpatterns = [path("create", create), path("fail", fail)]


def send(client: Client, method: str, path: str, body: object) -> object:
    return client.generic(method, path)


def test_writes_of_a_case_are_undone_before_the_next_one(
    client_for: ClientFor, alice: User
) -> None:
    table: list[Row] = [("GET", "/create", None, (201, 201)), ("GET", "/create", {}, (201, 201))]
    assert wrong_cases(table, [alice, None], client_for, send) == []
    assert not Group.objects.exists()


def test_right_case_does_not_hide_a_wrong_one_of_the_same_row(
    client_for: ClientFor, alice: User
) -> None:
    table = [("GET", "/create", None, (403,)), ("GET", "/create", None, (201,))]
    (wrong,) = wrong_cases(table, [alice], client_for, send)
    assert wrong == "GET /create None as alice: 201 instead of 403: b''"


def test_view_that_raises_is_a_wrong_case_and_the_other_cases_are_tried(
    client_for: ClientFor, alice: User
) -> None:
    table = [("GET", "/fail", None, (200, 500)), ("GET", "/create", None, (201, 403))]
    raised, other = wrong_cases(table, [alice, None], client_for, send)
    assert raised.startswith("GET /fail None as alice: 500 instead of 200")
    assert other.startswith("GET /create None as anonymous: 201 instead of 403")
