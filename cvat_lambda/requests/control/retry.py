"""Retry an ended request (failed and missing frames), or resume it (missing frames only)."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import F

from cvat_lambda.errors import LambdaError, StateConflict
from cvat_lambda.functions import registry
from cvat_lambda.requests.control.overlap import refuse_overlap
from cvat_lambda.requests.control.plan import PlannedShard
from cvat_lambda.requests.store import queue
from cvat_lambda.requests.store.database_clock import db_now_expression
from cvat_lambda.requests.store.locks import lock_shards, lock_tasks
from cvat_lambda.requests.store.models import ENDED, FrameStatus, Outcome, Request, Shard, Status


def retry_request(request: Request) -> Request:
    """Run the failed frames of an ended request again, and the frames that it did not reach.

    Raise StateConflict if the request is live or undone, or has nothing to retry. Raise
    ScopeOverlap.
    """
    with transaction.atomic():
        shards = _reopen(request)
        reopened = {shard.pk for shard in shards}
        first = [shard for shard in shards if shard.after_id not in reopened]
        transaction.on_commit(
            lambda: queue.send(first, meta=request.meta, at_front=request.priority > 0)
        )
    request.refresh_from_db()
    return request


def resume_request(request: Request) -> Request:
    """Run the frames of an ended request that have no outcome; keep those that failed.

    Raise StateConflict if the request is live or undone, or has no such frames. Raise ScopeOverlap.
    """
    with transaction.atomic():
        shards = _reopen(request, with_failed=False)
        transaction.on_commit(
            lambda: queue.send(shards, meta=request.meta, at_front=request.priority > 0)
        )
    request.refresh_from_db()
    return request


def may_retry(request: Request) -> bool:
    """Return whether a request can be retried and has frames to run."""
    return _may_reopen(request) and (request.failed > 0 or _has_missing_frames(request))


def may_resume(request: Request) -> bool:
    """Return whether a request can be resumed and has frames without an outcome."""
    return _may_reopen(request) and _has_missing_frames(request)


def _may_reopen(request: Request) -> bool:
    try:
        _check_state(request)
    except StateConflict:
        return False
    return True


def _has_missing_frames(request: Request) -> bool:
    return request.done + request.failed + request.skipped < request.total


def _reopen(request: Request, *, with_failed: bool = True) -> list[Shard]:
    """Queue the shards with frames to run, in a transaction. Raise as `retry_request`."""
    lock_tasks(set(request.shards.values_list("task_id", flat=True)))
    lock_shards(request_id=request.pk)
    request.refresh_from_db()
    _check_state(request)
    shards = [
        shard
        for shard in request.shards.all()
        if (with_failed and shard.failed) or _is_unfinished(shard)
    ]
    if not shards:
        missing = "failed frames" if with_failed else "frames without an outcome"
        raise StateConflict(f"request {request.id} has no {missing}")
    refuse_overlap(
        [
            PlannedShard(
                task_id=shard.task_id,
                job_id=shard.job_id,
                private_annotations=shard.private_annotations,
                frames=tuple((first, last) for first, last in shard.frames),
            )
            for shard in shards
        ]
    )
    failed = 0
    for shard in shards:
        deleted = 0
        if with_failed:
            deleted, _ = Outcome.objects.filter(shard=shard, status=FrameStatus.FAILED).delete()
        failed += deleted
        shard.rq_job_id = queue.new_job_id(request.pk, shard.index)
        Shard.objects.filter(pk=shard.pk).update(
            status=Status.QUEUED,
            lease="",
            failed=F("failed") - deleted,
            resumes=0,
            rq_job_id=shard.rq_job_id,
            enqueued_at=db_now_expression(),
        )
    reopened = Request.objects.filter(
        pk=request.pk,
        status__in=ENDED,
        undoing_at=None,
        undone_at=None,
        outcomes_pruned_at=None,
    ).update(
        status=Status.QUEUED,
        failed=F("failed") - failed,
        done_before=F("done"),
        **_current_version(request.function_id),
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
    if not reopened:  # another process changed it after it was read
        request.refresh_from_db()
        _check_state(request)
        raise StateConflict(f"request {request.id} is being changed: try again")
    return shards


def _current_version(function_id: str) -> dict[str, Any]:
    """Return the columns of the function's version; none if the registry does not have it."""
    try:
        spec = registry.get(function_id)
    except LambdaError:
        return {}  # the run fails with the cause
    return {"function_version": spec.version, "function_revision": spec.revision}


def _check_state(request: Request) -> None:
    """Raise StateConflict if the request's state does not allow a retry."""
    if request.undoing_at is not None or request.undone_at is not None:
        state = "undone" if request.undone_at is not None else "being undone"
        raise StateConflict(f"request {request.id} is {state}: start a new request")
    if request.status not in ENDED:
        raise StateConflict(f"request {request.id} is {request.status}: wait for its end")
    if request.outcomes_pruned_at is not None:
        raise StateConflict(
            f"request {request.id} ended long ago, and the outcomes of its frames are deleted: "
            "start a new request"
        )


def _is_unfinished(shard: Shard) -> bool:
    return shard.done + shard.failed + shard.skipped < shard.total
