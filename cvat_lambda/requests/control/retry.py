"""Taking up an ended request again: its failed frames, and those that it did not come to."""

from __future__ import annotations

from django.db.models import F

from cvat_lambda.errors import StateConflict
from cvat_lambda.requests.control import overlap, queue
from cvat_lambda.requests.control.plan import PlannedShard
from cvat_lambda.requests.store import database_clock
from cvat_lambda.requests.store.locks import lock_shards
from cvat_lambda.requests.store.models import FrameStatus, Outcome, Request, Shard, Status

RETRIED = (Status.FINISHED, Status.FAILED)


def reopen(request: Request) -> list[Shard]:
    """Queue the shards that have something left again; in a transaction. Raise as `retry`."""
    overlap.lock_tasks(set(request.shards.values_list("task_id", flat=True)))
    lock_shards(request_id=request.pk)
    request.refresh_from_db()
    refuse(request)
    shards = [shard for shard in request.shards.all() if shard.failed or _unfinished(shard)]
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
            enqueued_at=database_clock.now(),
        )
    again = Request.objects.filter(
        pk=request.pk, status__in=RETRIED, undone_at=None, outcomes_pruned_at=None
    ).update(
        status=Status.QUEUED,
        failed=F("failed") - failed,
        done_before=F("done"),
        error_code="",
        error_message="",
        started_at=None,
        ended_at=None,
        webhook_next_at=None,
        webhook_attempts=0,
        webhook_job_id="",
        notified_at=None,
        webhook_given_up_at=None,
    )
    if not again:  # changed since it was looked at
        request.refresh_from_db()
        refuse(request)
        raise StateConflict(f"request {request.id} is being changed: try again")
    return shards


def refuse(request: Request) -> None:
    """Raise StateConflict where a request is in no state to be retried."""
    if request.status not in RETRIED or request.undone_at is not None:
        state = "undone" if request.undone_at is not None else request.status
        raise StateConflict(
            f"request {request.id} is {state}: only a finished or failed one can be retried"
        )
    if request.outcomes_pruned_at is not None:
        raise StateConflict(
            f"request {request.id} ended long ago, and what became of its frames is not stored "
            "any more: start a new request"
        )


def may_retry(request: Request) -> bool:
    """Whether frames failed or were not come to, in a request that can be taken up again."""
    try:
        refuse(request)
    except StateConflict:
        return False
    return request.failed > 0 or request.done + request.skipped < request.total


def _unfinished(shard: Shard) -> bool:
    return shard.done + shard.failed + shard.skipped < shard.total
