"""Shards on the RQ queue: only ids travel, so that any version of the app reads any job.

Redis is a messenger here. What it forgets is found in the database (`recovery`) and sent again;
a job that is delivered twice finds its shard claimed.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

import django_rq
from redis.exceptions import RedisError
from rq import Queue, Worker
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import DefaultSerializer
from rq.utils import as_text

from cvat_lambda.conf import settings
from cvat_lambda.requests.control import processes
from cvat_lambda.requests.store.models import Shard

logger = logging.getLogger(__name__)

RUN_SHARD = "cvat_lambda.requests.rq_tasks.run_shard"
DELIVER_WEBHOOK = "cvat_lambda.requests.rq_tasks.deliver_webhook"
KEEP_RESULT_S = 30 * 60
KEEP_FAILURE_S = 3 * 3600
WAITING = frozenset({"deferred", "scheduled", "created"})
# Two of RQ's own heartbeats, one of which every worker shows for its job in 30 s, and some grace.
SILENT_AFTER_S = 75.0
TAKEN_AFTER_S = 5.0  # from the list to the start of a job; it takes a fork


def _queue() -> Queue:
    """The queue of background requests, in the form that every worker reads.

    ``manage.py rqworker`` reads jobs with RQ's default serializer, whatever a queue's settings
    say; the payload is a function's name and a number, so nothing of ours is pickled.
    """
    queue = django_rq.get_queue(settings.QUEUE)
    queue.serializer = DefaultSerializer
    return queue


def new_job_id(request_id: str, what: int | str) -> str:
    """An id for one delivery of a shard or a webhook; RQ takes letters, digits, ``-`` and ``_``."""
    return f"{request_id}-{what}-{secrets.token_hex(4)}"


def send(shards: Iterable[Shard], *, meta: Mapping[str, Any], at_front: bool = False) -> bool:
    """Put shards on the queue under their ``rq_job_id``; False where Redis does not answer.

    Call it after the commit. What could not be sent stays queued in the database.
    """
    ordered = list(shards)
    if at_front:
        ordered.reverse()  # each goes before the one that was put there before
    try:
        queue = _queue()
        for shard in ordered:
            queue.enqueue_call(
                RUN_SHARD,
                args=(shard.pk,),
                timeout=settings.JOB_TIMEOUT_S,
                result_ttl=KEEP_RESULT_S,
                failure_ttl=KEEP_FAILURE_S,
                job_id=shard.rq_job_id,
                description=f"request {shard.request_id}, shard {shard.index}",
                meta=dict(meta),
                at_front=at_front,
            )
    except (RedisError, OSError) as exc:
        logger.warning(
            "The queue does not answer: the request stays queued and is sent later. %s",
            exc,
            extra={"action": "enqueue_failed"},
        )
        return False
    return True


def send_webhook(request_id: str, job_id: str) -> None:
    """Put an attempt at the webhook of a request's end on the queue; recovery sends what is lost.

    It takes seconds, and goes before the batches that take hours.
    """
    try:
        _queue().enqueue_call(
            DELIVER_WEBHOOK,
            args=(request_id,),
            timeout=2 * 60,
            result_ttl=KEEP_RESULT_S,
            failure_ttl=KEEP_FAILURE_S,
            job_id=job_id,
            at_front=True,
            description=f"webhook of request {request_id}",
        )
    except (RedisError, OSError) as exc:
        logger.warning(
            "The queue does not answer: the webhook of %s is sent later. %s",
            request_id,
            exc,
            extra={"action": "enqueue_failed"},
        )


def lost_jobs(job_ids: Iterable[str]) -> set[str]:
    """Those of the jobs that no worker will run any more. Raise RedisError.

    Redis has them no longer or as ended; or their worker was killed after it had taken them and
    before it took the shard, which RQ itself would find out in some minutes, or never.
    """
    wanted = list(job_ids)
    if not wanted:
        return set()
    queue = _queue()
    listed = set(queue.job_ids)  # before the states: who is taken in between has another one
    found = Job.fetch_many(wanted, connection=queue.connection, serializer=queue.serializer)
    return set(wanted) - {job.id for job in found if job is not None and _waits(job, listed)}


def _waits(job: Job, listed: set[str]) -> bool:
    status = _status(job)
    if status == "queued":
        return job.id in listed or _was_just_taken(job)
    if status == "started":
        return not _worker_is_gone(job)
    return status in WAITING


def _was_just_taken(job: Job) -> bool:
    """Whether a job that is on no list was not seen so before, or only a moment ago."""
    key = f"cvat_lambda:taken:{job.id}"
    now = time.time()
    if job.connection.set(key, now, nx=True, ex=3600):
        return True
    since = job.connection.get(key)
    return since is None or now - float(since) < TAKEN_AFTER_S


def _worker_is_gone(job: Job) -> bool:
    """Whether the worker of a started job is silent, or was here and has no process any more."""
    beat = job.last_heartbeat
    if beat is None or _age_s(beat) > SILENT_AFTER_S:
        return True
    key = f"{Worker.redis_worker_namespace_prefix}{job.worker_name}"
    host, pid = job.connection.hmget(key, "hostname", "pid")
    if host is None or pid is None:
        return False  # it says nothing of itself: its heartbeat tells
    return processes.has_ended(as_text(host), int(pid))


def _age_s(moment: datetime) -> float:
    if moment.tzinfo is None:  # of older versions of RQ; always UTC
        moment = moment.replace(tzinfo=timezone.utc)
    return (datetime.now(timezone.utc) - moment).total_seconds()


def _status(job: Job) -> str:
    status = job.get_status(refresh=False)
    return str(getattr(status, "value", status))  # an enum of text in some versions of RQ


def drop(job_ids: Iterable[str]) -> None:
    """Take jobs that did not start off the queue, and delete them: what waits never expires.

    A worker that gets one before finds nothing to do.
    """
    try:
        queue = _queue()
        for job_id in job_ids:
            if queue.remove(job_id):
                _delete(queue, job_id)
    except (RedisError, OSError):
        logger.info("The queue does not answer: cancelled jobs stay on it, and will do nothing")


def _delete(queue: Queue, job_id: str) -> None:
    try:
        Job.fetch(job_id, connection=queue.connection, serializer=queue.serializer).delete()
    except NoSuchJobError:
        pass
