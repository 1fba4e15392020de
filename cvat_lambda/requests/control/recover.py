"""Finds work that nobody does any more, and has it done: the database is the truth.

Two ways to get lost: a worker dies (its shard's heartbeat grows old), and Redis forgets (a queued
shard has no job). Both are found by every run that starts, by ``manage.py recover_requests``, and
by whoever lists requests; each shard only so often.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import DatabaseError, transaction
from django.db.models import Exists, F, OuterRef, Q
from redis.exceptions import RedisError

from cvat_lambda.conf import settings
from cvat_lambda.requests.control import processes, queue, transitions, webhook
from cvat_lambda.requests.store import database_clock
from cvat_lambda.requests.store.models import LIVE, Request, Shard, Status

logger = logging.getLogger(__name__)

_last_look = 0.0
_look_lock = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What a recovery found."""

    stalled: int = 0  # shards whose worker died: queued again
    given_up: int = 0  # shards that died too often: failed
    lost: int = 0  # queued shards without a job: sent again
    ended: int = 0  # requests whose shards had all ended

    def __bool__(self) -> bool:
        return bool(self.stalled or self.given_up or self.lost or self.ended)


def recover_quietly(*, every_s: float = 0.0) -> None:
    """`recover`, at most every so often in this process; what goes wrong is only logged."""
    global _last_look
    with _look_lock:
        now = time.monotonic()
        if every_s and now - _last_look < every_s:
            return
        _last_look = now
    try:
        recover()
    except (DatabaseError, RedisError, OSError) as exc:
        logger.warning("Recovery did not get through: %s", exc, extra={"action": "recovery_failed"})


def recover() -> Recovered:
    """Queue stalled shards again, and send queued ones that Redis lost. Safe to run in parallel.

    Raise RedisError, DatabaseError.
    """
    stalled, given_up = _requeue_stalled()
    found = Recovered(stalled=stalled, given_up=given_up, lost=_send_lost(), ended=_end_orphans())
    webhook.send_lost()
    if found:
        logger.info("Recovered requests: %s", found, extra={"action": "recovered"})
    return found


def _requeue_stalled() -> tuple[int, int]:
    requeued = given_up = 0
    now = database_clock.read()
    for shard in Shard.objects.filter(status=Status.STARTED).filter(_silent(now)):
        if not _is_dead(shard, now):
            continue
        stops = 0 if _got_further(shard) else shard.resumes
        if stops >= settings.MAX_RESUMES:
            transitions.fail_stalled(
                shard,
                f"the worker of task {shard.task_id} stopped {stops + 1} times without getting "
                "further (killed, out of memory, or an internal error in the log): retry the "
                "request to go on",
            )
            given_up += 1
        else:
            requeued += _requeue(shard, resumes=0 if _got_further(shard) else stops + 1)
    return requeued, given_up


def _got_further(shard: Shard) -> bool:
    """Whether its last worker brought it forward: then it is no shard that kills workers."""
    return shard.done + shard.failed + shard.skipped > shard.settled_at_claim


def _silent(now: datetime) -> Q:
    """No heartbeat for two beats; `_is_dead` decides about those that may only be slow."""
    limit = now - timedelta(seconds=2 * settings.HEARTBEAT_S)
    return Q(heartbeat_at=None) | Q(heartbeat_at__lt=limit)


def _is_dead(shard: Shard, now: datetime) -> bool:
    """A worker is dead when it is silent for long, gave the shard back, or its process is gone."""
    if shard.heartbeat_at is None:
        return True
    if (now - shard.heartbeat_at).total_seconds() > settings.STALLED_AFTER_S:
        return True
    host, _, pid = shard.worker.rpartition(":")
    return pid.isdigit() and processes.has_ended(host, int(pid))


def _requeue(shard: Shard, *, resumes: int) -> int:
    """Queue a dead worker's shard; the lease in the condition makes one recoverer win."""
    job_id = queue.new_job_id(shard.request_id, shard.index)
    seen = Q(heartbeat_at=shard.heartbeat_at) if shard.heartbeat_at else Q(heartbeat_at=None)
    mine = Shard.objects.filter(seen, pk=shard.pk, status=Status.STARTED, lease=shard.lease)
    with transaction.atomic():
        won = mine.update(
            status=Status.QUEUED,
            lease="",
            rate=0,
            resumes=resumes,
            rq_job_id=job_id,
            enqueued_at=database_clock.now(),
        )
        if won:
            Request.objects.filter(pk=shard.request_id).update(resumes=F("resumes") + 1)
    if won:
        _send(shard.pk)
    return int(won)


def _send_lost() -> int:
    """Send queued shards whose job Redis does not have, once they had time to arrive."""
    limit = database_clock.read() - timedelta(seconds=min(settings.STALLED_AFTER_S, 10.0))
    waiting = Shard.objects.filter(status=Status.QUEUED).filter(
        Q(enqueued_at=None) | Q(enqueued_at__lt=limit)
    )
    shards = {shard.rq_job_id: shard for shard in waiting}
    sent = 0
    for job_id in queue.lost_jobs(shards):
        shard = shards[job_id]
        won = Shard.objects.filter(pk=shard.pk, status=Status.QUEUED, rq_job_id=job_id).update(
            rq_job_id=queue.new_job_id(shard.request_id, shard.index),
            enqueued_at=database_clock.now(),
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
