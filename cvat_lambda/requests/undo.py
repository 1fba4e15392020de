"""Taking back what a request added: by the ids in its provenance, and nothing else."""

from __future__ import annotations

from django.utils import timezone

from cvat_lambda.engine.port import Change, Engine, Removal, get_engine
from cvat_lambda.errors import StateConflict
from cvat_lambda.requests import reid
from cvat_lambda.requests.models import ENDED, ObjectKind, Provenance, Request

IDS_A_TRANSACTION = 2000


def undo(request_id: str, *, user_id: int | None = None) -> int:
    """Remove the annotations of an ended request; how many went. It may be repeated.

    What people edited since keeps its id where the engine keeps it, and goes too; what they
    deleted is no error. Rectangles that a ReID request joined to tracks come back. Raise
    StateConflict for a request that runs.
    """
    # Said first: from now on the request cannot be retried, and two cannot write at once.
    ended = Request.objects.filter(pk=request_id, status__in=ENDED)
    if not ended.update(undone_at=timezone.now()):
        raise StateConflict(f"request {request_id} is running: cancel it first")
    request = Request.objects.get(pk=request_id)
    engine = get_engine()
    removed = reid.restore(engine, request, user_id=user_id)
    scopes = Provenance.objects.filter(request_id=request_id).order_by("task_id", "job_id")
    for task_id, job_id in set(scopes.values_list("task_id", "job_id").distinct()):
        while chunk := _next_chunk(request_id, task_id, job_id):
            removed += _remove(engine, chunk, task_id, job_id, user_id)
    Request.objects.filter(pk=request_id).update(shapes=0)
    return removed


def _next_chunk(request_id: str, task_id: int, job_id: int | None) -> list[Provenance]:
    rows = Provenance.objects.filter(request_id=request_id, task_id=task_id, job_id=job_id)
    return list(rows.order_by("pk")[:IDS_A_TRANSACTION])


def _remove(
    engine: Engine,
    chunk: list[Provenance],
    task_id: int,
    job_id: int | None,
    user_id: int | None,
) -> int:
    with engine.atomic():
        Provenance.objects.filter(pk__in=[row.pk for row in chunk]).delete()
        written = engine.apply(
            Change(
                task_id=task_id,
                job_id=job_id,
                frames=tuple(sorted({row.frame for row in chunk})),
                remove=removal_of(chunk),
                user_id=user_id,
            )
        )
    return written.removed


def removal_of(rows: list[Provenance]) -> Removal:
    """Exactly the annotations that the rows name."""
    ids: dict[str, list[int]] = {kind: [] for kind in ObjectKind.values}
    for row in rows:
        ids[row.kind].append(row.object_id)
    return Removal(
        policy="ids",
        shape_ids=ids[ObjectKind.SHAPE],
        tag_ids=ids[ObjectKind.TAG],
        track_ids=ids[ObjectKind.TRACK],
    )
