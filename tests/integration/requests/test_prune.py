"""Prune deletes old requests and keeps the provenance of existing annotations."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Change, Removal
from cvat_lambda.errors import StateConflict
from cvat_lambda.functions.models import Function
from cvat_lambda.requests.control.prune import REQUESTS_A_TIME, Pruned, prune
from cvat_lambda.requests.control.retry import retry_request
from cvat_lambda.requests.control.undo import undo_request
from cvat_lambda.requests.store.models import MergedRectangle, Outcome, Provenance, Request
from tests.http_server import Reply

from .conftest import MakeTask, Start, run, store_function
from .function_server import FunctionServer, frame_of, rectangle_of


def end_two_days_ago() -> None:
    """Set the end of all requests to two days ago."""
    Request.objects.update(ended_at=timezone.now() - timedelta(days=2))


def fail_on(frame: int) -> Callable[[dict[str, Any]], Any]:
    """Return a detector that fails on one frame."""
    return lambda payload: (
        Reply(status=500, body=b'Exception caught in handler - "no"')
        if frame_of(payload) == frame
        else rectangle_of(frame_of(payload))
    )


def test_prune_deletes_old_requests_without_annotations_only(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    kept = run(start(task_id=make_task(2).pk))
    function.behave = lambda payload: []
    gone = run(start(task_id=kept.task_id, replace="none"))
    assert prune(1) == Pruned()
    Request.objects.update(ended_at=timezone.now() - timedelta(days=2))
    assert prune(1) == Pruned(requests=1, outcomes=2)
    assert list(Request.objects.values_list("pk", flat=True)) == [kept.pk]
    assert Provenance.objects.filter(request=kept).count() == 2
    assert not Outcome.objects.filter(request_id=gone.pk).exists()


def test_retry_of_a_pruned_request_is_refused(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(5)
    function.behave = fail_on(1)
    request = run(start(task_id=task.pk))
    end_two_days_ago()
    assert prune(1) == Pruned(outcomes=5)
    function.behave = lambda payload: rectangle_of(frame_of(payload))
    with pytest.raises(StateConflict, match="start a new request"):
        retry_request(request)
    request.refresh_from_db()
    assert (request.status, request.done, request.failed) == ("finished", 4, 1)
    assert len(get_engine().annotations(task.pk).shapes) == 4
    assert undo_request(request) == 4


def test_request_that_is_retried_during_a_prune_keeps_its_outcomes(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    function.behave = fail_on(1)
    request = run(start(task_id=make_task(3).pk))
    end_two_days_ago()
    retry_request(request)
    assert prune(1) == Pruned()
    function.behave = lambda payload: rectangle_of(frame_of(payload))
    assert (run(request).done, request.failed) == (3, 0)


def test_prune_deletes_provenance_of_deleted_tasks(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(3)
    run(start(task_id=task.pk))
    end_two_days_ago()
    task.delete()
    assert prune(1) == Pruned(requests=1, provenance=3)
    assert not Provenance.objects.exists()
    assert not Request.objects.exists()


def test_prune_deletes_provenance_of_deleted_shapes_only(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(3)
    request = run(start(task_id=task.pk))
    first, *others = (shape.id for shape in get_engine().annotations(task.pk).shapes)
    assert first is not None
    with get_engine().atomic():
        removal = Removal(policy="ids", shape_ids=[first])
        get_engine().apply(Change(task_id=task.pk, remove=removal))
    end_two_days_ago()
    assert prune(1) == Pruned(outcomes=3, provenance=1)
    left = Provenance.objects.filter(request=request).values_list("object_id", flat=True)
    assert sorted(left) == others


def test_prune_keeps_the_annotations_that_an_undo_would_restore(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(2)
    made = run(start(task_id=task.pk))
    store_function(function.url, "matcher", kind="reid", labels=[])
    function.behave = lambda payload: [0]
    joining = run(start(function_id="matcher", task_id=task.pk))
    assert (get_engine().annotations(task.pk).shapes, MergedRectangle.objects.count()) == ((), 2)
    end_two_days_ago()
    assert prune(1) == Pruned(outcomes=4)
    undo_request(joining)
    ids = {shape.id for shape in get_engine().annotations(task.pk).shapes}
    rows = Provenance.objects.filter(request=made)
    assert set(rows.values_list("object_id", flat=True)) == ids
    assert len(ids) == 2


def test_prune_command_refuses_a_negative_number_of_days(db: None) -> None:
    with pytest.raises(CommandError, match="--days takes 0 or more"):
        call_command("prune_requests", "--days=-1")


def test_prune_command_prints_what_it_deleted(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    run(start(task_id=make_task(2).pk))
    end_two_days_ago()
    out = StringIO()
    call_command("prune_requests", "--days", "1", stdout=out)
    assert out.getvalue() == (
        "0 requests, 2 outcomes and the provenance of 0 vanished annotations deleted\n"
    )
    assert not Outcome.objects.exists()


def test_prune_asks_nothing_of_single_requests_without_annotations(db: None) -> None:
    """Each old request cost a query, though most have added nothing that still exists."""
    numbers = []
    for many in (1, REQUESTS_A_TIME):
        long_ago = timezone.now() - timedelta(days=9)
        Request.objects.bulk_create(
            Request(function_id="finder", status="finished", ended_at=long_ago) for _ in range(many)
        )
        with CaptureQueriesContext(connection) as queries:
            assert prune(1) == Pruned(requests=many)
        numbers.append(len(queries))
    assert numbers[0] == numbers[1]
