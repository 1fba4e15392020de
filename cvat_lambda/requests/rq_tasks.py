"""The functions that RQ workers call. They take JSON arguments and are safe to run twice."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Generator
from typing import Any, Final, Protocol

from rq.exceptions import ShutDownImminentException
from rq.timeouts import JobTimeoutException

from cvat_lambda.annotations.errors import AnnotationError
from cvat_lambda.conf import settings
from cvat_lambda.engine import get_engine
from cvat_lambda.errors import FunctionNotFound, InvalidRequest, LambdaError
from cvat_lambda.functions import background
from cvat_lambda.functions.spec import Kind
from cvat_lambda.gateway.cancel import Cancelled, CancelToken
from cvat_lambda.requests.control import recover, transitions, webhook
from cvat_lambda.requests.run.detect import DetectWork
from cvat_lambda.requests.run.detect_tracks import DetectTracksWork
from cvat_lambda.requests.run.divide import FrameCursor
from cvat_lambda.requests.run.helper_processes import HelperProcesses
from cvat_lambda.requests.run.invoker import FunctionUnusable, Invoker
from cvat_lambda.requests.run.lease import (
    HeartbeatThread,
    Lease,
    LeaseLost,
    abandon_shard,
    claim,
    requeue_shard,
)
from cvat_lambda.requests.run.native_detect import NativeDetectTracksWork, NativeDetectWork
from cvat_lambda.requests.run.pipeline import Pipeline, Stages
from cvat_lambda.requests.run.reid import ReidWork
from cvat_lambda.requests.run.results import ReaderItem, Skips, Version, Work
from cvat_lambda.requests.run.shard_context import (
    FunctionRedeployed,
    ShardRun,
    load_run,
    record_newest_track,
)
from cvat_lambda.requests.run.track import TrackWork
from cvat_lambda.requests.run.writer import TooManyFailures, Writer
from cvat_lambda.requests.store import queue
from cvat_lambda.requests.store.database_retry import retry_on_database_error
from cvat_lambda.requests.store.params import Output

try:
    from rq.exceptions import StopRequested
except ImportError:  # RQ 1
    from rq.worker import StopRequested  # type: ignore[attr-defined,no-redef]

logger = logging.getLogger(__name__)

# Exceptions that RQ raises in a running job to stop its worker.
WORKER_STOPPED = (KeyboardInterrupt, SystemExit, StopRequested, ShutDownImminentException)
# Kind of the function and output of the request -> what a run does.
WORK: dict[tuple[Kind, Output], Any] = {
    (Kind.DETECTOR, "shapes"): DetectWork,
    (Kind.DETECTOR, "tracks"): DetectTracksWork,
    (Kind.REID, "shapes"): ReidWork,
    (Kind.TRACKER, "shapes"): TrackWork,
}
# The same for functions whose agents read the frames themselves.
NATIVE_WORK: dict[tuple[Kind, Output], Any] = {
    (Kind.DETECTOR, "shapes"): NativeDetectWork,
    (Kind.DETECTOR, "tracks"): NativeDetectTracksWork,
    (Kind.TRACKER, "shapes"): TrackWork,
}


HELPER: Final = (sys.executable, "-m", "cvat_lambda.requests.helper")


class StopWatch(Protocol):
    """Cancels a run when its worker is told to stop."""

    @property
    def is_stopping(self) -> bool:
        """Whether the worker was told to stop."""

    def start(self) -> None:
        """Begin to watch."""

    def end(self) -> None:
        """Watch no longer."""


class WorkerStopping(Exception):
    """The worker was told to stop while the shard runs."""


class TimeLimitReached(LambdaError):
    """The run took longer than a job may."""

    code = "time_limit"


def run_shard(
    shard_id: int,
    *,
    stop: Callable[[Callable[[], None]], StopWatch] = queue.WorkerStopThread,
    helpers: bool = True,
) -> None:
    """Run one shard to its end; do nothing if it has ended or another worker runs it.

    ``stop`` makes the watch that calls its argument when the worker is told to stop. ``helpers``:
    the run may start helper processes.
    """
    background.start()
    recover.try_recover()
    get_engine()  # imported before the request counts as started, because this takes 0.1 s
    lease = claim(shard_id)
    if lease is None:
        logger.info("Shard %d has nothing to run", shard_id, extra={"action": "shard_not_claimed"})
        return
    try:
        run_lease(lease, stop=stop, helpers=helpers)
    except LeaseLost:
        logger.info(
            "Request %s was cancelled or taken over: this worker stops",
            lease.request_id,
            extra={"action": "lease_lost", "request": lease.request_id},
        )
    except JobTimeoutException:
        limit = TimeLimitReached(
            f"the run took longer than {settings.JOB_TIMEOUT_S} s; retry the request to continue it"
        )
        _fail(lease, limit, whole=False)
    except WorkerStopping:
        logger.info(
            "This worker stops: another worker will continue request %s",
            lease.request_id,
            extra={"action": "shard_requeued", "request": lease.request_id},
        )
        requeue_shard(lease)
    except WORKER_STOPPED:
        requeue_shard(lease)
        raise
    except BaseException:
        abandon_shard(lease)  # perhaps a defect; recovery may queue the shard at once
        raise


def deliver_webhook(request_id: str) -> None:
    """Make one attempt to deliver the webhook of a request that ended."""
    webhook.deliver(request_id)


def run_lease(
    lease: Lease,
    *,
    stop: Callable[[Callable[[], None]], StopWatch] = queue.WorkerStopThread,
    helpers: bool = True,
) -> None:
    """Run a claimed shard to its end. Raise LeaseLost or WorkerStopping if it was stopped."""
    cancel = CancelToken()
    heartbeat = HeartbeatThread(lease, lost=cancel.cancel)
    recovery = recover.RecoveryThread()
    worker = stop(cancel.cancel)
    for thread in (heartbeat, recovery, worker):
        thread.start()
    try:
        run = load_run(lease, cancel)
        run.check_version(Version(run.spec.version, run.spec.revision))
        record_newest_track(run)
        work = work_of(run)
        run_frames(run, work, cancel, helpers=helpers)
        wait, request_id = cancel.wait, lease.request_id
        retry_on_database_error(
            lambda: work.prepare_finish(cancel.check), wait=wait, request_id=request_id
        )
        retry_on_database_error(lambda: finish(run, work), wait=wait, request_id=request_id)
    except Cancelled:
        # If the run has no error of its own, one of these two threads cancelled it.
        if worker.is_stopping:
            raise WorkerStopping from None
        raise LeaseLost(lease.request_id) from None
    except (FunctionUnusable, TooManyFailures) as exc:
        _fail(lease, exc.error if isinstance(exc, FunctionUnusable) else exc, whole=True)
    except LambdaError as exc:
        # The error concerns this task or its storage only: the request's other tasks continue.
        _fail(lease, exc, whole=isinstance(exc, FunctionNotFound | FunctionRedeployed))
    finally:
        worker.end()
        heartbeat.stop()
        recovery.stop()


def work_of(run: ShardRun) -> Work:
    """Return what a run does with its frames. Raise InvalidRequest."""
    try:
        table = NATIVE_WORK if run.spec.is_native else WORK
        work: Work = table[run.spec.kind, run.params.output](run)
    except AnnotationError as exc:
        # The function or the task's labels changed after the request was created.
        raise InvalidRequest(exc.message) from exc
    except KeyError:
        raise InvalidRequest(
            f"{run.function_name} is now a {run.spec.kind.value}: it cannot run in the background"
        ) from None
    return work


def run_frames(run: ShardRun, work: Work, cancel: CancelToken, *, helpers: bool = False) -> None:
    """Read the frames that have no outcome, invoke the function, and write the results."""
    if not run.skips and not run.frames:
        return
    invoker = Invoker(run, work, cancel)
    cursor = FrameCursor(run.frames) if helpers and work.divisible else None
    pipeline = Pipeline(
        Stages(
            read=lambda: _read(run, work, cursor),
            invoke=invoker.invoke,
            in_flight=invoker.in_flight,
            writer=Writer(run, wait=cancel.wait),
        ),
        cancel=cancel,
    )
    if cursor is None:
        with invoker.attending():
            pipeline.run()
    else:
        _run_with_helpers(run, pipeline, invoker, cursor, cancel)


def _run_with_helpers(
    run: ShardRun, pipeline: Pipeline, invoker: Invoker, cursor: FrameCursor, cancel: CancelToken
) -> None:
    """Run the pipeline, and meanwhile start helper processes where they are of use."""
    helpers = HelperProcesses(run=run, frames=cursor, command=HELPER, cancel=cancel)
    helpers.start()
    try:
        with invoker.attending():
            pipeline.run()
        helpers.wait()
    except Cancelled:
        if helpers.error is not None:
            raise helpers.error from None
        raise
    finally:
        helpers.stop()
        if helpers.has_lost_shard:
            recover.try_recover()


def finish(run: ShardRun, work: Work) -> None:
    """Write what is written at the end, and mark the shard as finished, in one transaction."""
    if transitions.is_finished(run.lease):
        return  # an earlier attempt committed, but the answer to its COMMIT was lost
    with run.engine.atomic():
        work.finish()
        transitions.finish_shard(run.lease)


def _read(
    run: ShardRun, work: Work, cursor: FrameCursor | None
) -> Generator[ReaderItem, None, None]:
    if run.skips:
        yield Skips(reasons=run.skips)
    numbers = tuple(work.numbers())
    frames = run.read(numbers)
    try:
        yield from work.units(frames if cursor is None else cursor.limit(frames))
    finally:
        close = getattr(frames, "close", None)
        if close is not None:
            close()


def _fail(lease: Lease, error: LambdaError, *, whole: bool) -> None:
    logger.warning(
        "Request %s cannot continue: %s",
        lease.request_id,
        error.message,
        extra={"action": "shard_failed", "request": lease.request_id, "code": error.code},
    )
    try:
        transitions.fail_shard(lease, error, whole=whole)
    except LeaseLost:
        pass
