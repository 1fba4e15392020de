"""Which annotations make way for a request's: frame by frame, when its own are there.

What a function made before is known by its provenance, which names annotations by id. One that a
person has changed since has a new id, in CVAT as standalone, so it is theirs and stays.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from django.db.models import Q, QuerySet

from cvat_lambda.engine.ids_subquery import ids_subquery
from cvat_lambda.engine.port import Removal, Task, Written
from cvat_lambda.requests.run import merged_rectangles
from cvat_lambda.requests.store.models import ObjectKind, Provenance, Shard
from cvat_lambda.requests.store.params import Replace


def removal(
    policy: Replace, *, function_id: str, task: Task, shard: Shard, frames: Sequence[int]
) -> Removal:
    """What a batch removes on its done frames."""
    if policy == "none" or not frames:
        return Removal()
    if policy != "function":
        return Removal(policy=policy)
    earlier = made_before(function_id, task=task, shard=shard).filter(
        frame__in=frames, kind__in=(ObjectKind.SHAPE, ObjectKind.TAG)
    )
    rows = list(earlier.values_list("kind", "object_id"))
    if not rows:
        return Removal()
    return Removal(
        policy="ids",
        shape_ids=[pk for kind, pk in rows if kind == ObjectKind.SHAPE],
        tag_ids=[pk for kind, pk in rows if kind == ObjectKind.TAG],
    )


def forget(written: Written) -> None:
    """Drop the provenance of what a change removed; in its transaction, behind it."""
    gone: list[tuple[str, Collection[int]]] = [
        (ObjectKind.SHAPE, written.removed_shape_ids),
        (ObjectKind.TAG, written.removed_tag_ids),
        (ObjectKind.TRACK, written.removed_track_ids),
    ]
    for kind, ids in gone:
        if ids:
            Provenance.objects.filter(kind=kind, object_id__in=ids_subquery(ids)).delete()


def forget_joined(policy: Replace, remove: Removal, *, shard: Shard, frames: Sequence[int]) -> None:
    """Rectangles in the tracks of a ReID request are replaced too: its undo leaves them away."""
    rows = merged_rectangles.on_frames(shard, frames)
    if policy == "automatic":
        rows = rows.filter(shape__source="auto")
    found = set(rows.values_list("shape_id", flat=True))
    if policy == "function":
        found &= set(remove.shape_ids)
    merged_rectangles.forget_shapes(found)
    Provenance.objects.filter(kind=ObjectKind.SHAPE, object_id__in=ids_subquery(found)).delete()


def made_before(function_id: str, *, task: Task, shard: Shard) -> QuerySet[Provenance]:
    """What earlier requests of the function added where this shard writes."""
    found: QuerySet[Provenance] = Provenance.objects.filter(
        task_id=task.id, request__function_id=function_id
    ).exclude(request_id=shard.request_id)
    apart = [job.id for job in task.jobs if job.type != "annotation"]
    if shard.private_annotations:
        found = found.filter(job_id=shard.job_id)
    elif apart:
        # NOT IN is unknown, not true, for a null.
        found = found.filter(Q(job_id=None) | ~Q(job_id__in=apart))
    return found
