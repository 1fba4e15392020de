"""Refuse a request on frames that a live request works on."""

from __future__ import annotations

from collections.abc import Sequence

from cvat_lambda.errors import ScopeOverlap
from cvat_lambda.requests.control.plan import PlannedShard
from cvat_lambda.requests.store import ranges
from cvat_lambda.requests.store.models import LIVE, Shard


def refuse_overlap(shards: Sequence[PlannedShard]) -> None:
    """Raise ScopeOverlap if a live request works on any of these frames.

    The caller has locked the tasks with `lock_tasks`.
    """
    by_task: dict[int, list[PlannedShard]] = {}
    for shard in shards:
        by_task.setdefault(shard.task_id, []).append(shard)
    live = Shard.objects.filter(task_id__in=by_task, status__in=LIVE)
    for other in live.iterator():
        for shard in by_task[other.task_id]:
            if _write_the_same(shard, other) and ranges.intersect(shard.frames, other.frames):
                raise ScopeOverlap(
                    f"request {other.request_id} is working on the same frames of "
                    f"task {other.task_id}: wait for its end, or cancel it",
                    request=other.request_id,
                )


def _write_the_same(one: PlannedShard, two: Shard) -> bool:
    """Return whether two shards of a task write to the same annotations."""
    if one.job_id == two.job_id:
        return True
    either_whole = one.job_id is None or two.job_id is None
    return either_whole and not one.private_annotations and not two.private_annotations
