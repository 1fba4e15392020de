"""Undo a request."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from cvat_lambda.annotations.types import LabeledData, Shape
from cvat_lambda.engine import get_engine
from cvat_lambda.errors import StateConflict
from cvat_lambda.functions.models import Function
from cvat_lambda.requests.control import transitions
from cvat_lambda.requests.control.recover import Recovered, recover
from cvat_lambda.requests.control.retry import may_retry, retry_request
from cvat_lambda.requests.control.undo import undo_request
from cvat_lambda.requests.run.lease import claim
from cvat_lambda.requests.run.results import FrameResult
from cvat_lambda.requests.run.shard_context import load_run
from cvat_lambda.requests.run.writer import Writer
from cvat_lambda.requests.store.models import Provenance, Request
from cvat_lambda.server.processes import Child
from tests.waiting import wait_for

from .conftest import MakeTask, Start


def filled(request: Request, shapes: int) -> Request:
    """Return a request that added this number of shapes to the first frame."""
    lease = claim(request.shards.get().pk)
    assert lease is not None
    run = load_run(lease)
    label = run.task.labels[0].id or 0
    found = tuple(
        Shape(type="rectangle", frame=0, label_id=label, points=(0, 0, 1 + n, 9), source="auto")
        for n in range(shapes)
    )
    result = FrameResult(frame=0, status="done", data=LabeledData(shapes=found))
    Writer(run, wait=time.sleep).write([result])
    transitions.finish_shard(lease)
    request.refresh_from_db()
    return request


def statements(request: Request) -> int:
    """Return the number of SQL statements of an undo."""
    with CaptureQueriesContext(connection) as seen:
        undo_request(request)
    return len(seen)


@pytest.mark.parametrize("count", [600, 2400])
def test_undo_of_many_shapes_takes_as_many_statements_as_of_few(
    finder: Function, make_task: MakeTask, start: Start, count: int
) -> None:
    """An undo took five statements of 500 parameters for every 500 shapes."""
    task = make_task(1)
    few = statements(filled(start(task_id=task.pk, replace="none"), 10))
    kept = filled(start(task_id=task.pk, replace="none"), 7)
    assert statements(filled(start(task_id=task.pk, replace="none"), count)) == few
    assert len(get_engine().annotations(task.pk).shapes) == 7
    assert Provenance.objects.filter(request=kept).count() == Provenance.objects.count() == 7


# It waits for its end after some of its transactions.
UNDO = """
import sys
import time
import django

django.setup()
from django.db import connection
from cvat_lambda.requests.control import undo

deletions = 0


def wait_at_last(execute, sql, *arguments):
    global deletions
    deletions += sql.startswith("DELETE")
    if deletions > 60:
        time.sleep(600)
    return execute(sql, *arguments)


undo.IDS_A_TRANSACTION = 20
with connection.execute_wrapper(wait_at_last):
    undo.remove_added(sys.argv[1])
"""


def test_undo_that_is_killed_is_not_reported_as_undone_and_recovery_finishes_it(
    finder: Function,
    make_task: MakeTask,
    start: Start,
    spawn: Callable[..., Child],
    child_env: dict[str, str],
) -> None:
    """The status `undone` used to be stored first, so the shapes were kept after a kill."""
    task = make_task(1)
    request = filled(start(task_id=task.pk), 3000)
    child = spawn("undo", [sys.executable, "-c", UNDO, request.pk], child_env)
    wait_for(
        "the first deletion", Provenance.objects.count, lambda found: found != 3000, pause_s=0.005
    )
    child.process.kill()
    child.process.wait()
    request.refresh_from_db()
    left = len(get_engine().annotations(task.pk).shapes)
    assert 0 < left < 3000
    assert (request.undone_at, request.undoing_at is not None) == (None, True)
    assert not may_retry(request)
    with pytest.raises(StateConflict, match="being undone"):
        retry_request(request)
    assert recover() == Recovered()  # the process may still be at work
    Request.objects.update(undoing_at=timezone.now() - timedelta(hours=1))
    assert recover() == Recovered(undone=1)
    request.refresh_from_db()
    assert (request.undone_at is not None, request.undoing_at) == (True, None)
    assert get_engine().annotations(task.pk).shapes == ()
