"""Find shards that no worker runs, and queue them again.

If a worker dies, its shard gets no more heartbeats. If Redis is flushed, it loses the jobs of
queued shards. ``manage.py recover_requests`` finds the shards of both kinds. So does every worker
when it starts a shard, and every `RECOVER_EVERY_S` seconds while it runs one. Web processes do not.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import DatabaseError, close_old_connections, connection, transaction
from django.db.models import Exists, F, OuterRef, Q
from redis.exceptions import RedisError

from cvat_lambda.conf import settings
from cvat_lambda.requests.control import transitions, undo, webhook
from cvat_lambda.requests.store import processes, queue
from cvat_lambda.requests.store.database_clock import db_now, db_now_expression
from cvat_lambda.requests.store.models import LIVE, Request, Shard, Status

logger = logging.getLogger(__name__)

RECOVER_EVERY_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """Counts of what one recovery found."""

    stalled: int = 0  # shards whose worker died; they were queued again
    given_up: int = 0  # shards whose workers died too often; they failed
    lost: int = 0  # queued shards without a job; they were sent again
    ended: int = 0  # live requests whose shards had all ended
    undone: int = 0  # requests whose undo was interrupted

    def __bool__(self) -> bool:
        return self != Recovered()


def try_recover() -> None:
    """Recover; if the database or Redis does not answer, log it."""
    try:
        recover()
    except (DatabaseError, RedisError, OSError) as exc:
        logger.warning("Recovery failed: %s", exc, extra={"action": "recovery_failed"})


class RecoveryThread(threading.Thread):
    """Recovers every `RECOVER_EVERY_S` seconds until it is stopped."""

    def __init__(self, every_s: float = RECOVER_EVERY_S) -> None:
        super().__init__(name="recovery", daemon=True)
        self._every_s = every_s
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopped.set()
        self.join()

    def run(self) -> None:
        """Recover at intervals; the thread has a database connection of its own."""
        try:
            while not self._stopped.wait(self._every_s):
                try_recover()
                close_old_connections()
        finally:
            connection.close()


def recover() -> Recovered:
    """Queue stalled shards again, and send the queued shards that Redis lost.

    It is safe to run in several processes at once. Raise RedisError, DatabaseError.
    """
    stalled, given_up = _requeue_stalled()
    found = Recovered(
        stalled=stalled,
        given_up=given_up,
        lost=_send_lost(),
        ended=_end_orphans(),
        undone=undo.finish_interrupted(),
    )
    webhook.send_lost()
    if found:
        logger.info("Recovered requests: %s", found, extra={"action": "recovered"})
    return found


def _requeue_stalled() -> tuple[int, int]:
    requeued = given_up = 0
    now = db_now()
    for shard in Shard.objects.filter(status=Status.STARTED).filter(_silent(now)):
        if not _is_dead(shard, now):
            continue
        stalls = 0 if _made_progress(shard) else shard.resumes
        if stalls >= settings.MAX_RESUMES:
            transitions.fail_stalled(
                shard,
                f"the worker of task {shard.task_id} stopped {stalls + 1} times without getting "
                "further (killed, out of memory, or an internal error in the log): retry the "
                "request to go on",
            )
            given_up += 1
        else:
            requeued += _requeue(shard, resumes=0 if _made_progress(shard) else stalls + 1)
    return requeued, given_up


def _made_progress(shard: Shard) -> bool:
    """Return whether the last worker wrote an outcome: then the shard did not kill the worker."""
    return shard.done + shard.failed + shard.skipped > shard.settled_at_claim


def _silent(now: datetime) -> Q:
    """Return the condition of shards without a heartbeat for two intervals (see `_is_dead`)."""
    limit = now - timedelta(seconds=2 * settings.HEARTBEAT_S)
    return Q(heartbeat_at=None) | Q(heartbeat_at__lt=limit)


def _is_dead(shard: Shard, now: datetime) -> bool:
    """Return whether a shard's worker is silent for too long, abandoned the shard, or has ended."""
    if shard.heartbeat_at is None:
        return True
    if (now - shard.heartbeat_at).total_seconds() > settings.STALLED_AFTER_S:
        return True
    host, _, pid = shard.worker.rpartition(":")
    return pid.isdigit() and processes.has_ended(host, int(pid))


def _requeue(shard: Shard, *, resumes: int) -> int:
    """Queue a dead worker's shard, unless another process did so first."""
    job_id = queue.new_job_id(shard.request_id, shard.index)
    same_beat = Q(heartbeat_at=shard.heartbeat_at) if shard.heartbeat_at else Q(heartbeat_at=None)
    same = Shard.objects.filter(same_beat, pk=shard.pk, status=Status.STARTED, lease=shard.lease)
    with transaction.atomic():
        won = same.update(
            status=Status.QUEUED,
            lease="",
            rate=0,
            resumes=resumes,
            rq_job_id=job_id,
            enqueued_at=db_now_expression(),
        )
        if won:
            Request.objects.filter(pk=shard.request_id).update(resumes=F("resumes") + 1)
    if won:
        _send(shard.pk)
    return int(won)


def _send_lost() -> int:
    """Send queued shards whose job Redis does not have, some seconds after they were queued."""
    limit = db_now() - timedelta(seconds=min(settings.STALLED_AFTER_S, 10.0))
    waiting = Shard.objects.filter(status=Status.QUEUED).filter(
        Q(after=None) | ~Q(after__status__in=LIVE),
        Q(enqueued_at=None) | Q(enqueued_at__lt=limit),
    )
    waiting = waiting.only("request_id", "index", "rq_job_id")  # not the lists of frames
    shards = {shard.rq_job_id: shard for shard in waiting}
    sent = 0
    for job_id in queue.lost_jobs(shards):
        shard = shards[job_id]
        won = Shard.objects.filter(pk=shard.pk, status=Status.QUEUED, rq_job_id=job_id).update(
            rq_job_id=queue.new_job_id(shard.request_id, shard.index),
            enqueued_at=db_now_expression(),
        )
        if won:
            sent += _send(shard.pk)
    return sent


def _send(shard_id: int) -> int:
    shard = Shard.objects.select_related("request").get(pk=shard_id)
    return int(queue.send([shard], meta=shard.request.meta, at_front=shard.request.priority > 0))


def _end_orphans() -> int:
    live = Shard.objects.filter(request=OuterRef("pk"), status__in=LIVE)
    orphans = Request.objects.filter(~Exists(live), status__in=LIVE)
    ids = list(orphans.values_list("pk", flat=True))
    transitions.end_orphans(ids)
    return len(ids)
