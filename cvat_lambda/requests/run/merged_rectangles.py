"""Rectangles that a ReID request joined to tracks: kept, so that an undo brings them back.

They have a table of their own, to which every run of the request adds: the outcomes of frames go
when the frames are run again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db.models import QuerySet

from cvat_lambda.annotations.serialize import labeled_data_from_json, shape_to_json
from cvat_lambda.annotations.types import Shape
from cvat_lambda.engine.ids_subquery import ids_subquery
from cvat_lambda.engine.port import Change, Engine, Written
from cvat_lambda.errors import JobNotFound, TaskNotFound
from cvat_lambda.requests.run.shard_context import ShardRun
from cvat_lambda.requests.store.bulk_rows import bulk_update_ids, insert
from cvat_lambda.requests.store.locks import lock_shards
from cvat_lambda.requests.store.models import MergedRectangle, ObjectKind, Provenance, Shard

SHAPES_A_TRANSACTION = 2000


def remember(run: ShardRun, shapes: Iterable[Shape]) -> None:
    """Keep rectangles that go, in the transaction that removes them."""
    insert(
        MergedRectangle,
        (
            {
                "request_id": run.request.pk,
                "task_id": run.task.id,
                "job_id": run.shard.job_id,
                "frame": shape.frame,
                "shape_id": shape.id,
                "shape": shape_to_json(shape),
            }
            for shape in shapes
        ),
    )


def restore(engine: Engine, request_id: str, *, user_id: int | None) -> None:
    """Bring back what a request joined, each rectangle once, however often this is called.

    Those that another request had made are that request's again. What belonged to a task or a
    job that is gone is forgotten.
    """
    kept = MergedRectangle.objects.filter(request_id=request_id)
    for task_id, job_id in set(kept.values_list("task_id", "job_id").distinct()):
        try:
            while _restore_some(engine, request_id, task_id, job_id, user_id):
                pass
        except (TaskNotFound, JobNotFound):
            kept.filter(task_id=task_id, job_id=job_id).delete()


def forget_shapes(shape_ids: Iterable[int]) -> None:
    """Rectangles of these former ids do not come back: whoever made them took them back."""
    MergedRectangle.objects.filter(shape_id__in=ids_subquery(list(shape_ids))).delete()


def on_frames(shard: Shard, frames: Sequence[int]) -> QuerySet[MergedRectangle]:
    """What was joined on these frames, where a shard writes."""
    found: QuerySet[MergedRectangle] = MergedRectangle.objects.filter(
        task_id=shard.task_id, frame__in=frames
    )
    if shard.job_id is not None:
        return found.filter(job_id=shard.job_id)
    apart = Shard.objects.filter(task_id=shard.task_id, private_annotations=True).values("job_id")
    return found.exclude(job_id__in=apart)


def _restore_some(
    engine: Engine, request_id: str, task_id: int, job_id: int | None, user_id: int | None
) -> int:
    with engine.atomic():
        lock_shards(request_id=request_id)  # of two that undo at once, the second finds nothing
        rows = MergedRectangle.objects.filter(request_id=request_id, task_id=task_id, job_id=job_id)
        some = list(rows.order_by("pk")[:SHAPES_A_TRANSACTION])
        if not some:
            return 0
        data = labeled_data_from_json(
            {"tags": [], "shapes": [row.shape for row in some], "tracks": []}
        )
        written = engine.apply(
            Change(
                task_id=task_id,
                job_id=job_id,
                frames=tuple(sorted({row.frame for row in some})),
                add=data,
                user_id=user_id,
            )
        )
        _rename(task_id, [row.shape_id for row in some], written)
        MergedRectangle.objects.filter(pk__in=ids_subquery([row.pk for row in some])).delete()
    return len(some)


def _rename(task_id: int, before: Sequence[int], written: Written) -> None:
    """Provenance follows the rectangles to their new ids."""
    # They were read from one job, so each comes back as one row.
    now = {old: copies[0] for old, copies in zip(before, written.shape_ids, strict=True)}
    rows = Provenance.objects.filter(
        task_id=task_id, kind=ObjectKind.SHAPE, object_id__in=ids_subquery(before)
    )
    bulk_update_ids(
        Provenance,
        "object_id",
        {pk: now[old] for pk, old in rows.values_list("pk", "object_id")},
    )
