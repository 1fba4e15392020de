"""Store the annotations that a request merged into tracks, and restore them on undo.

These are the rectangles of a ReID request, and the shapes and tracks that a tracker started from.
They have a table of their own, to which every run of the request adds. The outcomes of frames are
deleted when the frames are run again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import QuerySet

from cvat_lambda.annotations.serialize import (
    labeled_data_from_json,
    shape_to_json,
    track_to_json,
)
from cvat_lambda.annotations.types import LabeledData, Shape, Track
from cvat_lambda.engine.ids_subquery import ids_subquery
from cvat_lambda.engine.port import Change, Engine
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


def remember(run: ShardRun, replaced: Iterable[tuple[Shape | Track, int | None]]) -> None:
    """Store annotations that tracks replace, in the transaction that removes them.

    ``replaced`` are pairs of an annotation and the id of its track; None if other annotations
    replace it. A retried request may replace an annotation again by another track.
    """
    items = list(replaced)
    ids = ids_subquery([item.id for item, _ in items if item.id is not None])
    stored = MergedRectangle.objects.filter(request=run.request, shape_id__in=ids)
    known = {(kind, key): pk for pk, kind, key in stored.values_list("pk", "kind", "shape_id")}
    again = {
        known[key]: track_id
        for item, track_id in items
        if (key := (_kind(item), item.id or 0)) in known and track_id is not None
    }
    bulk_update_ids(MergedRectangle, "track_id", again)
    insert(
        MergedRectangle,
        (
            {
                "request_id": run.request.pk,
                "task_id": run.task.id,
                "job_id": run.shard.job_id,
                "frame": item.frame,
                "kind": _kind(item),
                "shape_id": item.id,
                "shape": shape_to_json(item) if isinstance(item, Shape) else track_to_json(item),
                "track_id": track_id,
            }
            for item, track_id in items
            if (_kind(item), item.id or 0) not in known
        ),
    )


def replaced_keys(request_id: str) -> set[tuple[str, int]]:
    """Return kind and former id of the annotations that a request has replaced."""
    stored = MergedRectangle.objects.filter(request_id=request_id)
    return set(stored.values_list("kind", "shape_id"))


def replaced_tracks(request_id: str) -> tuple[Track, ...]:
    """Return the tracks that a request has replaced, with their former ids."""
    stored = MergedRectangle.objects.filter(request_id=request_id, kind=ObjectKind.TRACK)
    return _data(list(stored)).tracks


def _kind(item: Shape | Track) -> str:
    return ObjectKind.SHAPE if isinstance(item, Shape) else ObjectKind.TRACK


def _data(rows: Sequence[MergedRectangle]) -> LabeledData:
    by_kind: dict[str, list[Any]] = {ObjectKind.SHAPE: [], ObjectKind.TRACK: []}
    for row in rows:
        by_kind[row.kind].append(row.shape)
    return labeled_data_from_json(
        {
            "tags": [],
            "shapes": by_kind[ObjectKind.SHAPE],
            "tracks": by_kind[ObjectKind.TRACK],
        }
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
    stored = MergedRectangle.objects.filter(kind=ObjectKind.SHAPE)
    stored.filter(shape_id__in=ids_subquery(list(shape_ids))).delete()


def on_frames(shard: Shard, frames: Sequence[int]) -> QuerySet[MergedRectangle]:
    """Return the merged rectangles on frames of the annotations that a shard writes."""
    found: QuerySet[MergedRectangle] = MergedRectangle.objects.filter(
        task_id=shard.task_id, frame__in=frames, kind=ObjectKind.SHAPE
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
        written = engine.apply(
            Change(
                task_id=task_id,
                job_id=job_id,
                frames=tuple(sorted({row.frame for row in restored})),
                remove=unedited,
                add=_data(restored),
                user_id=user_id,
            )
        )
        forget_removed(written)
        for kind, copies in (
            (ObjectKind.SHAPE, written.shape_ids),
            (ObjectKind.TRACK, written.track_ids),
        ):
            _rename(task_id, kind, [row.shape_id for row in restored if row.kind == kind], copies)
        MergedRectangle.objects.filter(pk__in=ids_subquery([row.pk for row in some])).delete()
        Request.objects.filter(pk=request_id).update(undoing_at=db_now_expression())
    return written.removed


def _rename(
    task_id: int, kind: str, before: Sequence[int], written: Sequence[Sequence[int]]
) -> None:
    """Give the provenance of restored annotations their new ids."""
    # All of them were read from one job, so each is stored as one row.
    now = {old: copies[0] for old, copies in zip(before, written, strict=True)}
    rows = Provenance.objects.filter(task_id=task_id, kind=kind, object_id__in=ids_subquery(before))
    bulk_update_ids(
        Provenance,
        "object_id",
        {pk: now[old] for pk, old in rows.values_list("pk", "object_id")},
    )
