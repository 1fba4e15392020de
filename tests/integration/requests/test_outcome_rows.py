"""Pages of outcomes are found by the counts of the shards."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from cvat_lambda.requests.store.models import Outcome, Request, Shard
from cvat_lambda.requests.store.outcome_rows import OutcomeRows
from cvat_lambda.requests.store.queries import outcomes_of


@pytest.fixture
def request_row(db: None) -> Request:
    """A request on three tasks, one of which has two shards."""
    made = Request.objects.create(function_id="finder")
    for index, (task_id, first) in enumerate(((9, 0), (5, 4), (7, 0), (5, 0))):
        shard = Shard.objects.create(
            request=made,
            index=index,
            task_id=task_id,
            frames=[[first, first + 3]],
            first_frame=first,
            last_frame=first + 3,
            done=3,
            failed=1,
        )
        Outcome.objects.bulk_create(
            Outcome(
                request=made,
                shard=shard,
                task_id=task_id,
                frame=first + number,
                status="failed" if number == 2 else "done",
            )
            for number in range(4)
        )
    return made


@pytest.mark.parametrize("status", [None, "done", "failed", "skipped"])
def test_slices_of_outcomes_are_those_of_the_whole_list(
    request_row: Request, status: str | None
) -> None:
    whole = list(outcomes_of(request_row, status))
    rows = OutcomeRows(request_row, status)
    assert rows.count() == len(whole)
    for first in range(18):
        for end in range(first, 19):
            assert rows[first:end] == whole[first:end]
    assert rows[:3] == whole[:3]


def test_page_of_outcomes_neither_counts_rows_nor_reads_those_of_other_tasks(
    request_row: Request,
) -> None:
    rows = OutcomeRows(request_row)
    with CaptureQueriesContext(connection) as queries:
        assert rows.count() == 16
        assert [(row.task_id, row.frame) for row in rows[12:16]] == [(9, 0), (9, 1), (9, 2), (9, 3)]
    of_shards, of_outcomes = [query["sql"] for query in queries]
    assert "cvat_lambda_outcome" not in of_shards
    assert '"task_id" = 9' in of_outcomes
    assert "OFFSET" not in of_outcomes


def test_request_whose_outcomes_are_pruned_has_none(request_row: Request) -> None:
    request_row.outcomes_pruned_at = timezone.now()
    rows = OutcomeRows(request_row)
    assert (rows.count(), rows[0:4]) == (0, [])
