"""Django's admin shows functions and requests. Rows cannot be added there."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from cvat_lambda.functions.models import Function
from cvat_lambda.requests.store.models import Request, Shard, Status


@pytest.fixture
def administrator(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root", "root@example.com", "secret"))
    return client


@pytest.fixture
def queued(db: None) -> Request:
    row = Request.objects.create(
        function_id="finder", function_kind="detector", task_id=7, total=4, done=1
    )
    Shard.objects.create(
        request=row, index=0, task_id=7, frames=[[0, 3]], first_frame=0, last_frame=3
    )
    return row


def test_requests_are_listed_with_their_progress(administrator: Client, queued: Request) -> None:
    page = administrator.get("/admin/cvat_lambda/request/").content.decode()
    assert queued.pk in page
    assert "1 of 4" in page


def test_a_request_shows_its_shards(administrator: Client, queued: Request) -> None:
    page = administrator.get(f"/admin/cvat_lambda/request/{queued.pk}/change/").content.decode()
    assert "finder" in page
    assert f"{queued.pk}/0: task 7, queued" in page


def test_an_administrator_can_cancel_requests(administrator: Client, queued: Request) -> None:
    administrator.post(
        "/admin/cvat_lambda/request/",
        {"action": "cancel_requests", "_selected_action": [queued.pk]},
    )
    queued.refresh_from_db()
    assert queued.status == Status.CANCELLED


def test_retry_of_a_queued_request_shows_why_it_is_refused(
    administrator: Client, queued: Request
) -> None:
    page = administrator.post(
        "/admin/cvat_lambda/request/",
        {"action": "retry_requests", "_selected_action": [queued.pk]},
        follow=True,
    ).content.decode()
    assert (
        f"request {queued.pk} is queued: wait for its end" in page.lower()
    )  # Django 4.2 writes a capital letter


@pytest.mark.parametrize("table", ["request", "outcome"])
def test_adding_a_row_by_hand_answers_403(administrator: Client, table: str) -> None:
    assert administrator.get(f"/admin/cvat_lambda/{table}/add/").status_code == 403


def test_functions_are_listed_with_their_problem(administrator: Client) -> None:
    Function.objects.create(id="broken", problem="label 'car' has no type")
    page = administrator.get("/admin/cvat_lambda/function/").content.decode()
    assert "broken" in page
    assert "label &#x27;car&#x27; has no type" in page


def test_an_administrator_can_undo_requests(administrator: Client, queued: Request) -> None:
    Request.objects.update(status=Status.FINISHED)
    administrator.post(
        "/admin/cvat_lambda/request/",
        {"action": "undo_requests", "_selected_action": [queued.pk]},
    )
    queued.refresh_from_db()
    assert queued.undone_at is not None


def test_list_of_requests_needs_the_same_number_of_queries_for_more_rows(
    administrator: Client, queued: Request, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    """The progress of running requests used to be read with a query for each row."""
    for _ in range(20):
        Request.objects.create(
            function_id="finder", function_kind="detector", task_id=7, status=Status.STARTED
        )
    with django_assert_max_num_queries(20):
        administrator.get("/admin/cvat_lambda/request/")
