"""Which annotations make way for a request's: frame by frame, when its own are there.

What a function made before is known by its provenance, which names annotations by id. One that a
person has changed since has a new id, in CVAT as standalone, so it is theirs and stays.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import Q, QuerySet

from cvat_lambda.engine.port import Removal, Task
from cvat_lambda.requests.models import ObjectKind, Provenance, Shard
from cvat_lambda.requests.params import Replace


def removal(
    policy: Replace, *, function_id: str, task: Task, shard: Shard, frames: Sequence[int]
) -> Removal:
    """What a batch removes on its done frames.

    ``function`` also deletes the provenance of what goes, so call it in the batch's transaction.
    """
    if policy == "none" or not frames:
        return Removal()
    if policy != "function":
        return Removal(policy=policy)
    earlier = made_before(function_id, task=task, shard=shard).filter(
        frame__in=frames, kind__in=(ObjectKind.SHAPE, ObjectKind.TAG)
    )
    rows = list(earlier.values_list("pk", "kind", "object_id"))
    if not rows:
        return Removal()
    Provenance.objects.filter(pk__in=[row[0] for row in rows]).delete()
    return Removal(
        policy="ids",
        shape_ids=[row[2] for row in rows if row[1] == ObjectKind.SHAPE],
        tag_ids=[row[2] for row in rows if row[1] == ObjectKind.TAG],
    )


def made_before(function_id: str, *, task: Task, shard: Shard) -> QuerySet[Provenance]:
    """What earlier requests of the function added where this shard writes."""
    found: QuerySet[Provenance] = Provenance.objects.filter(
        task_id=task.id, request__function_id=function_id
    ).exclude(request_id=shard.request_id)
    apart = [job.id for job in task.jobs if job.type != "annotation"]
    if shard.own_layer:
        found = found.filter(job_id=shard.job_id)
    elif apart:
        # NOT IN is unknown, not true, for a null.
        found = found.filter(Q(job_id=None) | ~Q(job_id__in=apart))
    return found
