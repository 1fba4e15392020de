"""The RQ queue that carries the ids of shards to workers.

An RQ job holds ids only, so that any version of the app can run it. The database holds the state:
`control.recover` sends again what Redis lost, and a job that is delivered twice finds its shard
claimed.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import django_rq
from django.core.exceptions import ImproperlyConfigured
from redis.exceptions import RedisError
from rq import Queue, Worker, get_current_job
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import DefaultSerializer
from rq.utils import as_text, utcparse

from cvat_lambda.conf import settings
from cvat_lambda.requests.store import processes
from cvat_lambda.requests.store.models import Shard

logger = logging.getLogger(__name__)

KEEP_RESULT_S = 30 * 60
KEEP_FAILURE_S = 3 * 3600
WAITING = frozenset({"deferred", "scheduled", "created"})
SILENT_AFTER_S = 75.0  # RQ workers send a heartbeat for their job every 30 s; two may be missed
STOP_POLL_S = 0.5  # seconds between two checks whether the worker was told to stop
COMMANDS_A_PIPELINE = 1000
TAKEN_AFTER_S = 5.0  # the longest time that a worker needs to fork and start a job that it took


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskNames:
    """The dotted names of the functions that RQ workers import and call."""

    run_shard: str  # takes the id of a shard
    deliver_webhook: str  # takes the id of a request


_task_names: TaskNames | None = None


def register_tasks(names: TaskNames) -> None:
    """Set the functions that jobs call; the app does this when it starts."""
    global _task_names
    _task_names = names


def task_names() -> TaskNames:
    """Return the registered functions."""
    if _task_names is None:
        raise ImproperlyConfigured("no RQ tasks are registered: is the app in INSTALLED_APPS?")
    return _task_names


def _queue() -> Queue:
    """Return the queue of background requests.

    ``manage.py rqworker`` always reads jobs with RQ's default serializer, so jobs are written with
    it. The payload is the name of a function and an id: no object of ours is pickled.
    """
    queue = django_rq.get_queue(settings.QUEUE)
    queue.serializer = DefaultSerializer
    return queue


def new_job_id(request_id: str, what: int | str) -> str:
    """Return a new RQ job id for a shard or a webhook, of letters, digits, ``-`` and ``_``."""
    return f"{request_id}-{what}-{secrets.token_hex(4)}"


def send(shards: Iterable[Shard], *, meta: Mapping[str, Any], at_front: bool = False) -> bool:
    """Put shards on the queue under their ``rq_job_id``; return False if Redis does not answer.

    Call it after the commit. A shard that was not sent stays queued in the database.
    """
    ordered = list(shards)
    if at_front:
        ordered.reverse()  # each is put before the last one
    try:
        queue = _queue()
        for shard in ordered:
            queue.enqueue_call(
                task_names().run_shard,
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
    """Put one delivery attempt of a webhook at the front of the queue.

    An attempt takes seconds and shards take hours. Recovery sends it again if it is lost.
    """
    try:
        _queue().enqueue_call(
            task_names().deliver_webhook,
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
    """Return those of the jobs that no worker will run. Raise RedisError.

    A job is lost if Redis does not have it, or has it as ended, or if its worker was killed after
    it took the job and before it claimed the shard. RQ itself finds such a job late or never.
    """
    wanted = list(job_ids)
    if not wanted:
        return set()
    queue = _queue()
    # Read before the states, so that a job taken in between has a new state.
    listed = set(queue.job_ids)
    states = _states(queue.connection, wanted)
    queued = {job_id for job_id, state in states.items() if state.status == "queued"}
    started = [state for state in states.values() if state.status == "started"]
    pending = {job_id for job_id, state in states.items() if state.status in WAITING}
    pending |= queued & listed
    pending |= _just_taken(queue.connection, sorted(queued - listed))
    pending |= _with_live_worker(queue.connection, started)
    return set(wanted) - pending


@dataclass(frozen=True, slots=True, kw_only=True)
class _JobState:
    """What Redis knows about an RQ job."""

    job_id: str
    status: str  # "": Redis does not have the job
    worker: str
    beat: str  # the time of the worker's last heartbeat for this job, as RQ writes it


def _states(connection: Any, job_ids: Sequence[str]) -> dict[str, _JobState]:
    """Return the states of jobs, without their payloads."""
    found = {}
    for start in range(0, len(job_ids), COMMANDS_A_PIPELINE):
        some = job_ids[start : start + COMMANDS_A_PIPELINE]
        with connection.pipeline(transaction=False) as pipeline:
            for job_id in some:
                pipeline.hmget(Job.key_for(job_id), "status", "worker_name", "last_heartbeat")
            for job_id, values in zip(some, pipeline.execute(), strict=True):
                status, worker, beat = (as_text(value) if value else "" for value in values)
                found[job_id] = _JobState(job_id=job_id, status=status, worker=worker, beat=beat)
    return found


def _just_taken(connection: Any, job_ids: Sequence[str]) -> set[str]:
    """Return those that have been on no list for less than TAKEN_AFTER_S."""
    now = time.time()
    with connection.pipeline(transaction=False) as pipeline:
        for job_id in job_ids:
            key = f"cvat_lambda:taken:{job_id}"
            pipeline.set(key, now, nx=True, ex=3600).get(key)
        answers = pipeline.execute()
    return {
        job_id
        for job_id, is_new, since in zip(job_ids, answers[::2], answers[1::2], strict=True)
        if is_new or since is None or now - float(since) < TAKEN_AFTER_S
    }


def _with_live_worker(connection: Any, started: Sequence[_JobState]) -> set[str]:
    """Return the started jobs whose worker is not silent, and whose process here has not ended."""
    beating = [state for state in started if state.beat and _age_s(state.beat) <= SILENT_AFTER_S]
    with connection.pipeline(transaction=False) as pipeline:
        for state in beating:
            key = f"{Worker.redis_worker_namespace_prefix}{state.worker}"
            pipeline.hmget(key, "hostname", "pid")
        workers = pipeline.execute()
    return {
        state.job_id
        for state, (host, pid) in zip(beating, workers, strict=True)
        # Of a worker that is not registered only the heartbeat counts.
        if host is None or pid is None or not processes.has_ended(as_text(host), int(pid))
    }


class WorkerStopThread(threading.Thread):
    """Calls ``stop`` within a second after the RQ worker of this job was told to stop.

    A signal reaches only RQ's parent process, which waits for the job to end. It notes the signal
    in Redis, where the process of the job sees it.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        super().__init__(name="worker-stop", daemon=True)
        self.is_stopping = False
        self._stop_run = stop
        self._ended = threading.Event()
        job = get_current_job()  # None outside a worker
        name = None if job is None else job.worker_name
        self._key = None if name is None else f"{Worker.redis_worker_namespace_prefix}{name}"

    def end(self) -> None:
        """End the thread; it may be waiting for Redis."""
        self._ended.set()

    def run(self) -> None:
        """Poll until the worker is told to stop, or the thread is ended."""
        while self._key is not None and not self._ended.wait(STOP_POLL_S):
            try:
                told = _queue().connection.hexists(self._key, "shutdown_requested_date")
            except (RedisError, OSError):
                continue
            if told:
                self.is_stopping = True
                self._stop_run()
                return


def _age_s(text: str) -> float:
    moment = utcparse(text)
    if moment.tzinfo is None:  # older versions of RQ read UTC without a zone
        moment = moment.replace(tzinfo=timezone.utc)
    return (datetime.now(timezone.utc) - moment).total_seconds()


def drop(job_ids: Iterable[str]) -> None:
    """Remove jobs that have not started from the queue, and delete them.

    RQ never expires a waiting job. A worker that takes one before it is removed finds its shard
    ended.
    """
    try:
        queue = _queue()
        for job_id in job_ids:
            if queue.remove(job_id):
                _delete(queue, job_id)
    except (RedisError, OSError):
        logger.info("The queue does not answer: cancelled jobs stay on it, and have no effect")


def _delete(queue: Queue, job_id: str) -> None:
    try:
        Job.fetch(job_id, connection=queue.connection, serializer=queue.serializer).delete()
    except NoSuchJobError:
        pass
