"""Taking up an ended request again: its failed frames, and those that it did not come to."""

from __future__ import annotations

from django.db.models import F
from django.utils import timezone

from cvat_lambda.errors import StateConflict
from cvat_lambda.requests import overlap, queue
from cvat_lambda.requests.models import FrameStatus, Outcome, Request, Shard, Status
from cvat_lambda.requests.plan import PlannedShard


def reopen(request: Request) -> list[Shard]:
    """Queue the shards that have something left again; in a transaction. Raise as `retry`."""
    shards = [shard for shard in request.shards.all() if shard.failed or _unfinished(shard)]
    overlap.lock_tasks({shard.task_id for shard in shards})
    if not shards:
        raise StateConflict(f"request {request.id} has no failed frames")
    overlap.refuse_overlap(
        [
            PlannedShard(
                task_id=shard.task_id,
                job_id=shard.job_id,
                own_layer=shard.own_layer,
                frames=tuple((first, last) for first, last in shard.frames),
            )
            for shard in shards
        ]
    )
    now = timezone.now()
    failed = 0
    for shard in shards:
        gone, _ = Outcome.objects.filter(shard=shard, status=FrameStatus.FAILED).delete()
        failed += gone
        shard.rq_job_id = queue.new_job_id(request.pk, shard.index)
        Shard.objects.filter(pk=shard.pk).update(
            status=Status.QUEUED,
            lease="",
            failed=F("failed") - gone,
            resumes=0,
            rq_job_id=shard.rq_job_id,
            enqueued_at=now,
        )
    again = Request.objects.filter(
        pk=request.pk, status__in=(Status.FINISHED, Status.FAILED), undone_at=None
    ).update(
        status=Status.QUEUED,
        failed=F("failed") - failed,
        error_code="",
        error_message="",
        started_at=None,
        ended_at=None,
        notified_at=None,
    )
    if not again:
        request.refresh_from_db()
        state = "undone" if request.undone_at is not None else request.status
        raise StateConflict(
            f"request {request.id} is {state}: only a finished or failed one can be retried"
        )
    return shards


def _unfinished(shard: Shard) -> bool:
    return shard.done + shard.failed + shard.skipped < shard.total
