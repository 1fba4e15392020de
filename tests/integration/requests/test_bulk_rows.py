"""Fast inserts and updates write the same rows as Django."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.forms.models import model_to_dict
from django.utils import timezone

from cvat_lambda.functions.models import Function
from cvat_lambda.json_rows import ROWS_PER_STATEMENT
from cvat_lambda.requests.store.bulk_rows import bulk_update_ids, insert, strip_unstorable
from cvat_lambda.requests.store.models import Outcome, Provenance, Request

from .conftest import MakeTask, Start


@pytest.fixture
def request_row(finder: Function, make_task: MakeTask, start: Start) -> Request:
    return start(task_id=make_task(1).pk)


@pytest.mark.parametrize("result", [None, {"pairs": [[1, 2]], "text": "größe"}, []])
def test_insert_writes_every_column(request_row: Request, result: object) -> None:
    shard = request_row.shards.get()
    values = {
        "request_id": request_row.pk,
        "shard_id": shard.pk,
        "task_id": 1 << 40,
        "frame": 7,
        "status": "failed",
        "code": "function_failed",
        "message": "it said: \"no\\ 100%\" — 'ü'\n{}",
        "attempts": 3,
        "duration_ms": None,
        "shapes": 0,
        "result": result,
        "written_at": timezone.now(),
    }
    insert(Outcome, [values])
    written = Outcome.objects.get()
    expected = Outcome(**values)
    assert model_to_dict(written, exclude=["id"]) == model_to_dict(expected, exclude=["id"])
    assert written.written_at == values["written_at"]
    assert Outcome.objects.filter(result__isnull=True).exists() is (result is None)


def test_insert_of_many_rows_takes_several_statements(request_row: Request) -> None:
    count = ROWS_PER_STATEMENT + 1
    row = {"request_id": request_row.pk, "task_id": 1, "job_id": None, "kind": "shape"}
    insert(
        Provenance,
        ({**row, "frame": n, "object_id": n, "score": n / count} for n in range(count)),
    )
    found = Provenance.objects.order_by("frame").values_list("object_id", "score", "job_id")
    assert list(found) == [(n, n / count, None) for n in range(count)]


def test_insert_of_no_rows_runs_no_statement(
    request_row: Request, django_assert_num_queries: Callable[[int], Any]
) -> None:
    with django_assert_num_queries(0):
        insert(Provenance, [])


def test_strip_unstorable_removes_nul_and_lone_surrogates(request_row: Request) -> None:
    assert strip_unstorable("a\x00b\ud800 ü") == "ab? ü"


def test_bulk_update_ids_changes_the_named_rows_only(request_row: Request) -> None:
    row = {"request_id": request_row.pk, "task_id": 1, "job_id": None, "kind": "shape"}
    insert(Provenance, ({**row, "frame": n, "object_id": n, "score": 1.0} for n in range(4)))
    keys = dict(Provenance.objects.values_list("object_id", "pk"))
    bulk_update_ids(Provenance, "object_id", {keys[1]: 3, keys[2]: 1 << 40})
    bulk_update_ids(Provenance, "object_id", {})
    found = Provenance.objects.order_by("frame").values_list("object_id", flat=True)
    assert list(found) == [0, 3, 1 << 40, 3]
