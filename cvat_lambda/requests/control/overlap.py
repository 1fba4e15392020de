"""No two live requests on the same frames: checked under a lock, so that no race lets two in."""

from __future__ import annotations

from collections.abc import Sequence

from cvat_lambda.errors import ScopeOverlap
from cvat_lambda.requests.control.plan import PlannedShard
from cvat_lambda.requests.store import ranges
from cvat_lambda.requests.store.models import LIVE, ScopeGuard, Shard


def lock_tasks(task_ids: set[int]) -> None:
    """Hold the tasks until the commit: two people who start at the same moment queue up here."""
    rows = [ScopeGuard(task_id=task_id) for task_id in sorted(task_ids)]
    ScopeGuard.objects.bulk_create(rows, ignore_conflicts=True)
    locked = ScopeGuard.objects.select_for_update().filter(task_id__in=task_ids)
    list(locked.order_by("task_id"))


def refuse_overlap(shards: Sequence[PlannedShard]) -> None:
    """Raise ScopeOverlap where a live request works on some of the frames."""
    by_task: dict[int, list[PlannedShard]] = {}
    for shard in shards:
        by_task.setdefault(shard.task_id, []).append(shard)
    live = Shard.objects.filter(task_id__in=by_task, status__in=LIVE)
    for other in live.iterator():
        for shard in by_task[other.task_id]:
            if _same_annotations(shard, other) and ranges.intersect(shard.frames, other.frames):
                raise ScopeOverlap(
                    f"request {other.request_id} is working on the same frames of "
                    f"task {other.task_id}: wait for its end, or cancel it",
                    request=other.request_id,
                )


def _same_annotations(one: PlannedShard, two: Shard) -> bool:
    if one.job_id == two.job_id:
        return True
    either_whole = one.job_id is None or two.job_id is None
    return either_whole and not one.own_layer and not two.own_layer
