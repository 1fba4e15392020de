"""Undo a request: remove what it added, except what people have edited since.

An undo is a state of the request: ``undoing_at`` is set before anything is removed, and
``undone_at`` after everything is removed. If the process is killed in between, `control.recover`
finishes the undo.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.utils import timezone

from cvat_lambda import signals
from cvat_lambda.conf import settings
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.ids_subquery import ids_subquery
from cvat_lambda.engine.port import Change, Engine
from cvat_lambda.errors import JobNotFound, LambdaError, StateConflict, TaskNotFound
from cvat_lambda.requests.run import merged_rectangles
from cvat_lambda.requests.run.provenance import MADE, Made, split_edited
from cvat_lambda.requests.store.database_clock import db_now, db_now_expression
from cvat_lambda.requests.store.locks import lock_shards
from cvat_lambda.requests.store.models import ENDED, LIVE, ObjectKind, Provenance, Request

logger = logging.getLogger(__name__)

IDS_A_TRANSACTION = 5000


def undo_request(request: Request, *, user_id: int | None = None) -> int:
    """Remove what an ended request added; return how many annotations were removed.

    Raise StateConflict for a live request.
    """
    request.refresh_from_db()
    if request.status in LIVE:
        raise StateConflict(f"request {request.id} is {request.status}: cancel it first")
    removed = remove_added(request.pk, user_id=user_id)
    request.refresh_from_db()
    return removed


def remove_added(request_id: str, *, user_id: int | None = None) -> int:
    """Remove the annotations of an ended request; return how many were removed.

    This may be repeated, and may run in several processes at once. Annotations that people edited
    are kept. Rectangles that a ReID request merged into tracks are restored. Raise StateConflict
    for a live request.
    """
    # Set first: from now on the request cannot be retried, and recovery finishes the undo.
    ended = Request.objects.filter(pk=request_id, status__in=ENDED)
    if not ended.update(undoing_at=db_now_expression(), undone_at=None, undo_user_id=user_id):
        raise StateConflict(f"request {request_id} is running: cancel it first")
    removed = _finish(request_id, user_id=user_id)
    signals.action_taken.send_robust(
        sender=Request,
        action="undid",
        object_kind="request",
        object_id=request_id,
        details={"removed": removed, "user_id": user_id},
    )
    return removed


def finish_interrupted() -> int:
    """Finish the undos whose process was killed; return how many were finished."""
    limit = db_now() - timedelta(seconds=settings.STALLED_AFTER_S)
    interrupted = Request.objects.filter(undoing_at__lt=limit, undone_at=None)
    found = list(interrupted.values_list("pk", "undo_user_id"))
    finished = 0
    for request_id, user_id in found:
        try:
            _finish(request_id, user_id=user_id)
            finished += 1
        except LambdaError as exc:
            logger.warning("The undo of request %s is not finished: %s", request_id, exc.message)
    return finished


def _finish(request_id: str, *, user_id: int | None) -> int:
    engine = get_engine()
    removed = merged_rectangles.restore(engine, request_id, user_id=user_id)
    made = Provenance.objects.filter(request_id=request_id)
    for task_id, job_id in set(made.values_list("task_id", "job_id").distinct()):
        try:
            while (some := _remove_some(engine, request_id, task_id, job_id, user_id)) is not None:
                removed += some
        except (TaskNotFound, JobNotFound):
            made.filter(task_id=task_id, job_id=job_id).delete()
    Request.objects.filter(pk=request_id).update(
        shapes=0, undone_at=timezone.now(), undoing_at=None
    )
    return removed


def _remove_some(
    engine: Engine, request_id: str, task_id: int, job_id: int | None, user_id: int | None
) -> int | None:
    """Remove some annotations; return how many were removed, None if none are left."""
    with engine.atomic():
        lock_shards(request_id=request_id)
        rows = Provenance.objects.filter(request_id=request_id, task_id=task_id, job_id=job_id)
        # Plain values instead of model instances: there may be many thousands.
        some = list(rows.order_by("pk").values_list("pk", "frame", *MADE)[:IDS_A_TRANSACTION])
        if not some:
            return None
        made = [Made(*facts) for _, _, *facts in some]
        unedited, _ = split_edited(engine, task_id, made)
        written = engine.apply(
            Change(
                task_id=task_id,
                job_id=job_id,
                frames=tuple(sorted({frame for _, frame, *_ in some})),
                remove=unedited,
                user_id=user_id,
            )
        )
        # The undo of a ReID request that merged some of them must not restore them.
        merged_rectangles.forget_shapes(
            row.object_id for row in made if row.kind == ObjectKind.SHAPE
        )
        Provenance.objects.filter(pk__in=ids_subquery([pk for pk, *_ in some])).delete()
        Request.objects.filter(pk=request_id).update(undoing_at=db_now_expression())
    return written.removed
