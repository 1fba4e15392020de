"""The list of requests of an installation that has more than a list shows."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from cvat_lambda.requests.store.models import Request, Status
from cvat_lambda.requests.store.queries import most_relevant


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
