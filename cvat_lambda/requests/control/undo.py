"""Undo a request: remove what it added, by the ids in its provenance, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable

from django.utils import timezone

from cvat_lambda.engine import get_engine
from cvat_lambda.engine.ids_subquery import ids_subquery
from cvat_lambda.engine.port import Change, Engine, Removal
from cvat_lambda.errors import JobNotFound, StateConflict, TaskNotFound
from cvat_lambda.requests.run import merged_rectangles
from cvat_lambda.requests.store.locks import lock_shards
from cvat_lambda.requests.store.models import ENDED, LIVE, ObjectKind, Provenance, Request

IDS_A_TRANSACTION = 5000
_FACTS = ("pk", "frame", "kind", "object_id")  # of provenance


def undo_request(request: Request, *, user_id: int | None = None) -> int:
    """Remove exactly what an ended request added; return how many annotations were removed.

    Raise StateConflict for a live request.
    """
    request.refresh_from_db()
    if request.status in LIVE:
        raise StateConflict(f"request {request.id} is {request.status}: cancel it first")
    removed = remove_added(request.pk, user_id=user_id)
    request.refresh_from_db()
    return removed


def remove_added(request_id: str, *, user_id: int | None = None) -> int:
    """Remove the annotations of an ended request; how many went. It may be repeated.

    What people edited since keeps its id where the engine keeps it, and goes too; what they
    deleted is no error, tasks and jobs that are gone neither. Rectangles that a ReID request joined
    to tracks come back. Raise StateConflict for a request that runs.
    """
    # Said first: from now on the request cannot be retried, and two cannot write at once.
    ended = Request.objects.filter(pk=request_id, status__in=ENDED)
    if not ended.update(undone_at=timezone.now()):
        raise StateConflict(f"request {request_id} is running: cancel it first")
    engine = get_engine()
    merged_rectangles.restore(engine, request_id, user_id=user_id)
    removed = 0
    made = Provenance.objects.filter(request_id=request_id)
    for task_id, job_id in set(made.values_list("task_id", "job_id").distinct()):
        try:
            while (gone := _remove_some(engine, request_id, task_id, job_id, user_id)) is not None:
                removed += gone
        except (TaskNotFound, JobNotFound):
            made.filter(task_id=task_id, job_id=job_id).delete()  # they went with the task or job
    Request.objects.filter(pk=request_id).update(shapes=0)
    return removed


def _remove_some(
    engine: Engine, request_id: str, task_id: int, job_id: int | None, user_id: int | None
) -> int | None:
    """How many annotations went; None when there is nothing left."""
    with engine.atomic():
        lock_shards(request_id=request_id)
        rows = Provenance.objects.filter(request_id=request_id, task_id=task_id, job_id=job_id)
        # Values and no instances: there may be many thousands.
        some = list(rows.order_by("pk").values_list(*_FACTS)[:IDS_A_TRANSACTION])
        if not some:
            return None
        written = engine.apply(
            Change(
                task_id=task_id,
                job_id=job_id,
                frames=tuple(sorted({frame for _, frame, _, _ in some})),
                remove=_removal_of(some),
                user_id=user_id,
            )
        )
        # What a ReID request took meanwhile must not come back by its undo.
        merged_rectangles.forget_shapes(pk for _, _, kind, pk in some if kind == ObjectKind.SHAPE)
        Provenance.objects.filter(pk__in=ids_subquery([row[0] for row in some])).delete()
    return written.removed


def _removal_of(rows: Iterable[tuple[int, int, str, int]]) -> Removal:
    """Exactly the annotations that the rows name."""
    ids: dict[str, list[int]] = {kind: [] for kind in ObjectKind.values}
    for _, _, kind, object_id in rows:
        ids[kind].append(object_id)
    return Removal(
        policy="ids",
        shape_ids=ids[ObjectKind.SHAPE],
        tag_ids=ids[ObjectKind.TAG],
        track_ids=ids[ObjectKind.TRACK],
    )
