"""The list of requests of an installation that has more than a list shows."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import QuerySet
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from cvat_lambda.bounded_paginator import AdminPaginator, BoundedPaginator, KeysPaginator
from cvat_lambda.engine.standalone.access import StandaloneAccess
from cvat_lambda.requests.control.access import visible_requests
from cvat_lambda.requests.store.jit import without_jit
from cvat_lambda.requests.store.models import Outcome, Request, Shard, Status
from cvat_lambda.requests.store.queries import first_failures, most_relevant, outcomes_of


def add(name: str, owner: User | None, status: Status, age_s: int) -> None:
    """Store a request that was created some seconds ago."""
    created_at = timezone.now() - timedelta(seconds=age_s)
    Request.objects.create(
        id=name, owner=owner, status=status, created_at=created_at, function_id="f"
    )


@pytest.fixture
def stored(alice: User, bob: User) -> User:
    """Requests of alice, bob and nobody, live and ended. Return alice."""
    add("own-live", alice, Status.QUEUED, 60)
    add("other-live", bob, Status.STARTED, 50)
    add("own-ended", alice, Status.FAILED, 40)
    add("orphan-ended", None, Status.FINISHED, 30)
    add("other-ended", bob, Status.CANCELLED, 20)
    return alice


@pytest.mark.parametrize(
    ("limit", "names"),
    [
        (1, ["own-live"]),
        (2, ["other-live", "own-live"]),
        (3, ["own-ended", "other-live", "own-live"]),
        (4, ["other-ended", "own-ended", "other-live", "own-live"]),
        (5, ["other-ended", "orphan-ended", "own-ended", "other-live", "own-live"]),
        (9, ["other-ended", "orphan-ended", "own-ended", "other-live", "own-live"]),
    ],
)
def test_list_has_live_requests_then_own_ones_then_new_ones(
    stored: User, limit: int, names: list[str]
) -> None:
    found = most_relevant(Request.objects.all(), stored.pk, limit)
    assert [request.id for request in found] == names


def test_list_of_one_status_searches_for_no_live_requests_among_the_ended_ones(
    stored: User,
) -> None:
    """SQLite read the index entries of all finished requests to find that none is live."""
    with CaptureQueriesContext(connection) as queries:
        found = most_relevant(Request.objects.all(), stored.pk, 0, status="finished")
        assert most_relevant(Request.objects.all(), stored.pk, 5, status="finished") != found
    assert not [query["sql"] for query in queries if "queued" in query["sql"]]


@pytest.mark.parametrize(
    ("status", "limit", "names"),
    [
        ("finished", 9, ["orphan-ended"]),
        ("failed", 1, ["own-ended"]),
        ("cancelled", 0, []),
    ],
)
def test_list_of_one_status_has_own_requests_first(
    stored: User, status: str, limit: int, names: list[str]
) -> None:
    add("older", stored, Status.FINISHED, 900)
    names = [*names, "older"] if status == "finished" else names
    add("newer-other", None, Status.FAILED, 1)
    found = most_relevant(Request.objects.all(), stored.pk, limit, status=status)
    assert [request.id for request in found] == names


def add_outcomes(name: str, failed: int) -> Request:
    """Store a request with failed outcomes, the last frame first."""
    request = Request.objects.create(id=name, function_id="f", task_id=1, failed=failed)
    shard = Shard.objects.create(
        request=request, index=0, task_id=1, frames=[[0, 9]], first_frame=0, last_frame=9
    )
    Outcome.objects.bulk_create(
        Outcome(request=request, shard=shard, task_id=1, frame=frame, status="failed")
        for frame in reversed(range(failed))
    )
    return request


def test_first_failures_are_those_of_the_first_frames_of_each_request(db: None) -> None:
    for name, failed in (("many", 8), ("few", 2), ("none", 0)):
        add_outcomes(name, failed)
    found = first_failures(["many", "few", "none"], 3)
    frames = {name: [outcome.frame for outcome in few] for name, few in found.items()}
    assert frames == {"many": [0, 1, 2], "few": [0, 1]}


def plan_of(rows: QuerySet[Any]) -> str:
    """Return how the database reads the rows, without the cost estimates of PostgreSQL."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")  # a small table is read as a whole
            cursor.execute("SET LOCAL enable_bitmapscan = off")
    return str(rows.explain())


@pytest.mark.parametrize("status", [None, "failed"])
def test_page_of_outcomes_is_read_in_the_order_of_an_index(db: None, status: str | None) -> None:
    plan = plan_of(outcomes_of(add_outcomes("many", 8), status)[:3])
    assert ("lambda_outcome_status_idx" if status else "lambda_outcome_list_idx") in plan
    assert "Sort" not in plan  # PostgreSQL
    assert "USE TEMP B-TREE" not in plan  # SQLite


def test_list_of_a_user_without_tasks_reads_no_requests_of_others(
    stored: User, charlie: User
) -> None:
    """The only condition is that the user owns the request."""
    plan = plan_of(visible_requests(StandaloneAccess(charlie)).order_by())
    assert "owner" in plan  # the index by owner
    assert "SCAN cvat_lambda_request" not in plan
    assert "Seq Scan on cvat_lambda_request" not in plan


def test_list_of_an_administrator_has_no_condition(stored: User) -> None:
    root = User.objects.create_superuser("root")
    found = visible_requests(StandaloneAccess(root))
    assert not found.query.has_filters()
    assert found.count() == 5


@pytest.mark.parametrize("paginator", [BoundedPaginator, AdminPaginator])
def test_paginator_counts_no_further_than_it_shows(
    stored: User, monkeypatch: pytest.MonkeyPatch, paginator: type[BoundedPaginator]
) -> None:
    monkeypatch.setattr(paginator, "most_rows", 3)
    newest = Request.objects.order_by("-created_at")
    with CaptureQueriesContext(connection) as queries:
        pages = paginator(newest, 2)
        assert (pages.count, pages.num_pages, pages.has_more) == (3, 2, True)
    assert "LIMIT 4" in queries[0]["sql"]
    assert [request.id for request in pages.page(2)] == ["own-ended"]
    monkeypatch.setattr(paginator, "most_rows", 5)
    pages = paginator(newest, 2)
    assert (pages.count, pages.has_more) == (5, False)
    assert [request.id for request in pages.page(3)] == ["own-live"]


def test_paginator_by_keys_checks_the_conditions_once_for_count_and_page(stored: User) -> None:
    class FirstThree(KeysPaginator):
        most_rows = 3

    newest = Request.objects.order_by("-created_at")
    with CaptureQueriesContext(connection) as queries:
        pages = FirstThree(newest.exclude(function_id="other"), 2, whole=newest)
        assert (pages.count, pages.num_pages, pages.has_more) == (3, 2, True)
        assert [request.id for request in pages.page(1)] == ["other-ended", "orphan-ended"]
        assert [request.id for request in pages.page(2)] == ["own-ended"]
    assert ["'other'" in query["sql"] for query in queries] == [True, False, False]
    assert "LIMIT 4" in queries[0]["sql"]
    nothing = FirstThree(newest.filter(function_id="other"), 2, whole=newest)
    assert (nothing.count, list(nothing.get_page("7"))) == (0, [])


needs_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite compiles no queries"
)


@needs_postgresql
def test_without_jit_changes_the_setting_for_its_queries_only(transactional_db: None) -> None:
    def setting() -> Any:
        cursor.execute("SHOW jit")
        return cursor.fetchone()

    with connection.cursor() as cursor:
        cursor.execute("SET jit = on")
        with without_jit():
            assert setting() == ("off",)
        assert setting() == ("on",)


@needs_postgresql
@pytest.mark.parametrize("before", ["on", "off"])
@pytest.mark.parametrize("fails", [False, True])
def test_without_jit_in_a_transaction_does_not_change_the_setting_for_later_queries(
    db: None, before: str, fails: bool
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL jit = {before}")
        with suppress(KeyError), without_jit():
            cursor.execute("SHOW jit")
            assert cursor.fetchone() == ("off",)
            if fails:
                raise KeyError
        cursor.execute("SHOW jit")
        assert cursor.fetchone() == (before,)


@needs_postgresql
def test_page_of_requests_is_read_without_jit(stored: User, client: Client) -> None:
    """PostgreSQL took more time to compile the query than to run it."""
    client.force_login(stored)
    with CaptureQueriesContext(connection) as queries:
        assert client.get("/requests").status_code == 200
    sql = [query["sql"] for query in queries]
    first = next(at for at, one in enumerate(sql) if 'FROM "cvat_lambda_request"' in one)
    assert "SET LOCAL jit = off" in sql[:first]


@pytest.mark.parametrize("owner", ["alice", "nobody"])
def test_page_of_requests_of_an_owner_has_their_requests_only(
    stored: User, owner: str, client: Client
) -> None:
    client.force_login(User.objects.create_superuser("root"))
    shown = client.get("/requests", {"owner": owner}).context["page"]
    names = ["own-ended", "own-live"] if owner == "alice" else []
    assert [request.id for request in shown] == names
    assert shown.paginator.count == len(names)
