"""Shards on the RQ queue: only ids travel, so that any version of the app reads any job.

Redis is a messenger here. What it forgets is found in the database (`recovery`) and sent again;
a job that is delivered twice finds its shard claimed.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

import django_rq
from redis.exceptions import RedisError
from rq import Queue
from rq.job import Job
from rq.serializers import DefaultSerializer

from cvat_lambda.conf import settings
from cvat_lambda.requests.models import Shard

logger = logging.getLogger(__name__)

RUN_SHARD = "cvat_lambda.requests.jobs.run_shard"
DELIVER_WEBHOOK = "cvat_lambda.requests.jobs.deliver_webhook"
KEEP_RESULT_S = 30 * 60
KEEP_FAILURE_S = 3 * 3600
WAITING = frozenset({"queued", "started", "deferred", "scheduled", "created"})


def _queue() -> Queue:
    """The queue of background requests, in the form that every worker reads.

    ``manage.py rqworker`` reads jobs with RQ's default serializer, whatever a queue's settings
    say; the payload is a function's name and a number, so nothing of ours is pickled.
    """
    queue = django_rq.get_queue(settings.QUEUE)
    queue.serializer = DefaultSerializer
    return queue


def new_job_id(request_id: str, index: int) -> str:
    """An id for one delivery of a shard; RQ takes letters, digits, ``-`` and ``_``."""
    return f"{request_id}-{index}-{secrets.token_hex(4)}"


def send(shards: Iterable[Shard], *, meta: Mapping[str, Any], at_front: bool = False) -> bool:
    """Put shards on the queue under their ``rq_job_id``; False where Redis does not answer.

    Call it after the commit. What could not be sent stays queued in the database.
    """
    try:
        queue = _queue()
        for shard in shards:
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


def send_webhook(request_id: str) -> None:
    """Put the webhook of a request's end on the queue; recovery sends what is not delivered."""
    try:
        _queue().enqueue_call(
            DELIVER_WEBHOOK,
            args=(request_id,),
            timeout=10 * 60,
            result_ttl=KEEP_RESULT_S,
            failure_ttl=KEEP_FAILURE_S,
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
    """Those of the jobs that Redis no longer has, or has as ended. Raise RedisError."""
    wanted = list(job_ids)
    if not wanted:
        return set()
    queue = _queue()
    found = Job.fetch_many(wanted, connection=queue.connection, serializer=queue.serializer)
    waiting = {job.id for job in found if job is not None and _status(job) in WAITING}
    return set(wanted) - waiting


def _status(job: Job) -> str:
    status = job.get_status(refresh=False)
    return str(getattr(status, "value", status))  # an enum of text in some versions of RQ


def drop(job_ids: Iterable[str]) -> None:
    """Take jobs that did not start off the queue; a worker that gets one finds nothing to do."""
    try:
        queue = _queue()
        for job_id in job_ids:
            queue.remove(job_id)
    except (RedisError, OSError):
        logger.info("The queue does not answer: cancelled jobs stay on it, and will do nothing")
