"""End shards and requests: finished, failed, cancelled. Each change is one conditional UPDATE.

Every transaction locks rows in the order that `models` describes. The lock on the request ensures
that exactly one shard is the last one.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from cvat_lambda import signals
from cvat_lambda.conf import settings
from cvat_lambda.errors import LambdaError
from cvat_lambda.requests.control import webhook
from cvat_lambda.requests.run.lease import Lease, LeaseLost
from cvat_lambda.requests.store import queue
from cvat_lambda.requests.store.database_clock import db_now_expression
from cvat_lambda.requests.store.locks import lock_shards
from cvat_lambda.requests.store.models import LIVE, FrameStatus, Outcome, Request, Shard, Status


def finish_shard(lease: Lease) -> None:
    """End a shard whose frames all have an outcome, and with the last shard the request.

    Call it inside the transaction of the shard's last write, or on its own. Raise LeaseLost.
    """
    with transaction.atomic():
        if not _held(lease).update(
            status=Status.FINISHED, heartbeat_at=db_now_expression(), rate=0
        ):
            raise LeaseLost(lease.request_id)
        _send_followers(lease.shard_id)
        _end_if_last(lease.request_id)


def is_finished(lease: Lease) -> bool:
    """Return whether the shard was finished under this lease."""
    mine = Shard.objects.filter(pk=lease.shard_id, lease=lease.token, status=Status.FINISHED)
    return bool(mine.exists())


def fail_shard(lease: Lease, error: LambdaError, *, whole: bool) -> None:
    """Fail a shard; with ``whole``, fail all live shards of the request. Raise LeaseLost."""
    with transaction.atomic():
        if whole:
            lock_shards(request_id=lease.request_id)
        if not _held(lease).update(status=Status.FAILED, rate=0):
            raise LeaseLost(lease.request_id)
        if whole:
            live = Shard.objects.filter(request_id=lease.request_id, status__in=LIVE)
            live.update(status=Status.FAILED, lease="", rate=0)
        _note_error(lease.request_id, error.code, error.message)
        _send_followers(lease.shard_id)
        _end_if_last(lease.request_id)


def fail_stalled(shard: Shard, message: str) -> None:
    """Fail a shard that stalled too often, unless its worker has sent a heartbeat meanwhile."""
    with transaction.atomic():
        same = Shard.objects.filter(pk=shard.pk, status=shard.status, lease=shard.lease)
        if shard.heartbeat_at is None:
            same = same.filter(heartbeat_at__isnull=True)
        else:
            same = same.filter(heartbeat_at=shard.heartbeat_at)
        if same.update(status=Status.FAILED, lease="", rate=0):
            _note_error(shard.request_id, "stalled", message)
            _send_followers(shard.pk)
            _end_if_last(shard.request_id)


def cancel(request_id: str) -> bool:
    """Cancel a live request; return False if it had ended.

    Nothing is written after this returns: it waits for a batch that is being committed. Workers
    stop within a second.
    """
    with transaction.atomic():
        lock_shards(request_id=request_id)
        shards = Shard.objects.filter(request_id=request_id, status__in=LIVE)
        shards.update(status=Status.CANCELLED, lease="", rate=0)
        ended = Request.objects.filter(pk=request_id, status__in=LIVE).update(
            status=Status.CANCELLED, **_end_times()
        )
        if ended:
            transaction.on_commit(lambda: notify(request_id))
    return bool(ended)


def end_orphans(requests: Iterable[str]) -> None:
    """End live requests whose shards have all ended: a worker died before it ended the request."""
    for request_id in requests:
        with transaction.atomic():
            _end_if_last(request_id)


def _held(lease: Lease) -> QuerySet[Shard]:
    held: QuerySet[Shard] = Shard.objects.filter(
        pk=lease.shard_id, lease=lease.token, status=Status.STARTED
    )
    return held


def _send_followers(shard_id: int) -> None:
    """Send the shards that waited for the end of this one, when the transaction commits."""

    def send() -> None:
        waiting = Shard.objects.filter(after=shard_id, status=Status.QUEUED)
        waiting.update(enqueued_at=db_now_expression())
        for shard in waiting.select_related("request"):
            queue.send([shard], meta=shard.request.meta, at_front=shard.request.priority > 0)

    transaction.on_commit(send)


def _note_error(request_id: str, code: str, message: str) -> None:
    Request.objects.filter(pk=request_id, error_code="").update(
        error_code=code[:64], error_message=message
    )


def _end_if_last(request_id: str) -> None:
    request = Request.objects.select_for_update().get(pk=request_id)
    if request.status not in LIVE or request.shards.filter(status__in=LIVE).exists():
        return
    status, code, message = final_status(request)
    Request.objects.filter(pk=request_id).update(
        status=status, error_code=code, error_message=message, **_end_times()
    )
    transaction.on_commit(lambda: notify(request_id))


def _end_times() -> dict[str, datetime | None]:
    """Return the columns of the end: its time, at which the webhook is due."""
    now = timezone.now()
    return {"ended_at": now, "webhook_next_at": now if settings.WEBHOOK_URL else None}


def final_status(request: Request) -> tuple[str, str, str]:
    """Return the status of a request whose shards have ended, an error code and a sentence."""
    if request.error_code or request.shards.filter(status=Status.FAILED).exists():
        return Status.FAILED, request.error_code or "error", request.error_message
    if request.failed and not request.done:
        first = (
            Outcome.objects.filter(request=request, status=FrameStatus.FAILED)
            .order_by("task_id", "frame")
            .first()
        )
        cause = f" Frame {first.frame}: {first.message}" if first is not None else ""
        return (
            Status.FAILED,
            first.code if first is not None else "error",
            f"All {request.failed} frames failed.{cause}",
        )
    return Status.FINISHED, "", ""


def notify(request_id: str) -> None:
    request = Request.objects.select_related("owner").get(pk=request_id)
    # An exception of a receiver must not roll back the end of the request.
    signals.request_finished.send_robust(sender=Request, request=request)
    webhook.send(request_id)
