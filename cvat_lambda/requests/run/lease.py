"""The lease of a shard: a worker claims, renews and returns it, and checks it before each write."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass

from django.db import DatabaseError, close_old_connections, connection, transaction
from django.db.models import F
from django.utils import timezone

from cvat_lambda import signals
from cvat_lambda.conf import settings
from cvat_lambda.requests.store import queue
from cvat_lambda.requests.store.database_clock import db_now_expression
from cvat_lambda.requests.store.models import LIVE, Request, Shard, Status
from cvat_lambda.requests.store.processes import worker_name

CANCEL_POLL_S = 0.3  # seconds between two checks whether the shard was cancelled


class LeaseLost(Exception):
    """The shard was cancelled, or another worker holds it: this worker may not write to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right of one worker to run a shard; the token distinguishes it from later leases."""

    shard_id: int
    request_id: str
    token: str

    def fence(self, **counted: float) -> None:
        """Lock the shard's row, renew the heartbeat and add to its counts of frames.

        Call it first in every transaction that writes for the shard. Raise LeaseLost; the caller
        must then roll the transaction back.
        """
        changes = {
            name: F(name) + value if name in ("done", "failed", "skipped") else value
            for name, value in counted.items()
        }
        held = Shard.objects.filter(pk=self.shard_id, lease=self.token, status=Status.STARTED)
        if not held.update(heartbeat_at=db_now_expression(), **changes):
            raise LeaseLost(self.request_id)


def claim(shard_id: int) -> Lease | None:
    """Claim a queued shard; return None if it was deleted, has ended or is claimed.

    A shard that goes on with the objects of another one cannot be claimed before that one has
    ended. The end of that one sends it again.
    """
    if Shard.objects.filter(pk=shard_id, after__status__in=LIVE).exists():
        return None
    token = secrets.token_hex(16)
    with transaction.atomic():
        taken = Shard.objects.filter(pk=shard_id, status=Status.QUEUED).update(
            status=Status.STARTED,
            lease=token,
            worker=worker_name()[:255],
            heartbeat_at=db_now_expression(),
            attempts=F("attempts") + 1,
            settled_at_claim=F("done") + F("failed") + F("skipped"),
        )
        if not taken:
            return None
        request_id = Shard.objects.values_list("request_id", flat=True).get(pk=shard_id)
        first = Request.objects.filter(pk=request_id, status=Status.QUEUED).update(
            status=Status.STARTED, started_at=timezone.now()
        )
    if first:
        # An exception of a receiver must not keep the shard from running.
        signals.request_started.send_robust(
            sender=Request, request=Request.objects.select_related("owner").get(pk=request_id)
        )
    return Lease(shard_id=shard_id, request_id=request_id, token=token)


class HeartbeatThread(threading.Thread):
    """Renews the heartbeat, and calls ``lost`` within `CANCEL_POLL_S` of losing the lease.

    It has a database connection of its own: a long batch does not delay the heartbeat.
    """

    def __init__(self, lease: Lease, lost: Callable[[], None]) -> None:
        super().__init__(name=f"watch-{lease.shard_id}", daemon=True)
        self._lease = lease
        self._lost = lost
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopped.set()
        self.join()

    def run(self) -> None:
        """Poll until stopped. A database error is ignored: `Lease.fence` checks every write."""
        polls_a_beat = max(1, round(settings.HEARTBEAT_S / CANCEL_POLL_S))
        polls = 0
        try:
            while not self._stopped.wait(CANCEL_POLL_S):
                polls += 1
                try:
                    if not self._holds(beat=polls % polls_a_beat == 0):
                        self._lost()
                        return
                except DatabaseError:
                    close_old_connections()
        finally:
            connection.close()

    def _holds(self, *, beat: bool) -> bool:
        held = Shard.objects.filter(
            pk=self._lease.shard_id, lease=self._lease.token, status=Status.STARTED
        )
        if beat:
            return bool(held.update(heartbeat_at=db_now_expression()))
        exists: bool = held.exists()
        return exists


def requeue_shard(lease: Lease) -> None:
    """Queue a shard again when its worker is told to stop; do nothing if the lease is lost."""
    held = Shard.objects.filter(pk=lease.shard_id, lease=lease.token, status=Status.STARTED)
    try:
        shard = held.select_related("request").first()
        if shard is None:
            return
        shard.rq_job_id = queue.new_job_id(shard.request_id, shard.index)
        # A shard without a time of sending is sent by recovery if Redis does not answer now.
        requeued = held.update(
            status=Status.QUEUED, lease="", rate=0, rq_job_id=shard.rq_job_id, enqueued_at=None
        )
        if requeued:
            queue.send([shard], meta=shard.request.meta, at_front=True)
    except DatabaseError:
        connection.close()  # recovery finds the shard by its old heartbeat


def abandon_shard(lease: Lease) -> None:
    """Return a shard after an unexpected error, for recovery to queue it again or fail it."""
    try:
        Shard.objects.filter(pk=lease.shard_id, lease=lease.token, status=Status.STARTED).update(
            heartbeat_at=None
        )
    except DatabaseError:
        connection.close()  # recovery finds the shard by its old heartbeat
