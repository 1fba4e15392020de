"""Store the rectangles that a ReID request merged into tracks, and restore them on undo.

They have a table of their own, to which every run of the request adds. The outcomes of frames are
deleted when the frames are run again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db.models import QuerySet

from cvat_lambda.annotations.serialize import labeled_data_from_json, shape_to_json
from cvat_lambda.annotations.types import Shape
from cvat_lambda.engine.ids_subquery import ids_subquery
from cvat_lambda.engine.port import Change, Engine, Written
from cvat_lambda.errors import JobNotFound, TaskNotFound
from cvat_lambda.requests.run.provenance import MADE, Made, forget_removed, split_edited
from cvat_lambda.requests.run.shard_context import ShardRun
from cvat_lambda.requests.store.bulk_rows import bulk_update_ids, insert
from cvat_lambda.requests.store.database_clock import db_now_expression
from cvat_lambda.requests.store.locks import lock_shards
from cvat_lambda.requests.store.models import (
    MergedRectangle,
    ObjectKind,
    Provenance,
    Request,
    Shard,
)

SHAPES_A_TRANSACTION = 2000


def remember(run: ShardRun, replaced: Iterable[tuple[Shape, int]]) -> None:
    """Store shapes that tracks replace, in the transaction that removes them.

    ``replaced`` are pairs of a shape and the id of its track.
    """
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
                "track_id": track_id,
            }
            for shape, track_id in replaced
        ),
    )


def restore(engine: Engine, request_id: str, *, user_id: int | None) -> int:
    """Replace the tracks of a request by its rectangles; return how many tracks were removed.

    Each rectangle is restored once, however often this is called. The rectangles of a track that a
    person edited are not restored: the edited track is kept. Rectangles that another request made
    belong to that request again. Rectangles of deleted tasks and jobs are forgotten.
    """
    removed = 0
    stored = MergedRectangle.objects.filter(request_id=request_id)
    for task_id, job_id in set(stored.values_list("task_id", "job_id").distinct()):
        try:
            while (some := _restore_some(engine, request_id, task_id, job_id, user_id)) is not None:
                removed += some
        except (TaskNotFound, JobNotFound):
            stored.filter(task_id=task_id, job_id=job_id).delete()
    return removed


def forget_shapes(shape_ids: Iterable[int]) -> None:
    """Forget rectangles by their former ids, so that no undo restores them."""
    MergedRectangle.objects.filter(shape_id__in=ids_subquery(list(shape_ids))).delete()


def on_frames(shard: Shard, frames: Sequence[int]) -> QuerySet[MergedRectangle]:
    """Return the merged rectangles on frames of the annotations that a shard writes."""
    found: QuerySet[MergedRectangle] = MergedRectangle.objects.filter(
        task_id=shard.task_id, frame__in=frames
    )
    if shard.job_id is not None:
        return found.filter(job_id=shard.job_id)
    private = Shard.objects.filter(task_id=shard.task_id, private_annotations=True)
    return found.exclude(job_id__in=private.values("job_id"))


def _restore_some(
    engine: Engine, request_id: str, task_id: int, job_id: int | None, user_id: int | None
) -> int | None:
    """Restore some tracks' rectangles; return how many tracks were removed, None at the end."""
    with engine.atomic():
        lock_shards(request_id=request_id)  # of two undos at once, the second finds no rows
        rows = MergedRectangle.objects.filter(
            request_id=request_id, task_id=task_id, job_id=job_id
        ).order_by("track_id", "pk")
        some = list(rows[:SHAPES_A_TRANSACTION])
        if not some:
            return None
        track_ids = {row.track_id for row in some if row.track_id is not None}
        # All rectangles of a track are restored together.
        some = [row for row in some if row.track_id is None]
        some += rows.filter(track_id__in=ids_subquery(track_ids))
        made = Provenance.objects.filter(
            request_id=request_id, kind=ObjectKind.TRACK, object_id__in=ids_subquery(track_ids)
        )
        tracks = [Made(*row) for row in made.values_list(*MADE)]
        unedited, edited = split_edited(engine, task_id, tracks)
        restored = [row for row in some if row.track_id not in set(edited.track_ids)]
        data = labeled_data_from_json(
            {"tags": [], "shapes": [row.shape for row in restored], "tracks": []}
        )
        written = engine.apply(
            Change(
                task_id=task_id,
                job_id=job_id,
                frames=tuple(sorted({row.frame for row in restored})),
                remove=unedited,
                add=data,
                user_id=user_id,
            )
        )
        forget_removed(written)
        _rename(task_id, [row.shape_id for row in restored], written)
        MergedRectangle.objects.filter(pk__in=ids_subquery([row.pk for row in some])).delete()
        Request.objects.filter(pk=request_id).update(undoing_at=db_now_expression())
    return written.removed


def _rename(task_id: int, before: Sequence[int], written: Written) -> None:
    """Give the provenance of restored rectangles their new ids."""
    # All of them were read from one job, so each is stored as one row.
    now = {old: copies[0] for old, copies in zip(before, written.shape_ids, strict=True)}
    rows = Provenance.objects.filter(
        task_id=task_id, kind=ObjectKind.SHAPE, object_id__in=ids_subquery(before)
    )
    bulk_update_ids(
        Provenance,
        "object_id",
        {pk: now[old] for pk, old in rows.values_list("pk", "object_id")},
    )
