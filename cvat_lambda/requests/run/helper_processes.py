"""Helper processes: a run starts them while its own processor time limits it.

A process of Python uses little more than one core. If the function answers faster than one process
can serve it, the run divides its shard: a helper process gets a part of the frames that are not
read yet, as a shard with a lease of its own, and then the next part. So everything that holds for
several RQ workers on one request holds for helpers, too: they share the function's concurrency
limit, and a shard whose process was killed is recovered.

A helper reads ids of shards from its standard input, a line each, and writes a line to its standard
output whenever it is ready for the next one. It ends when the input ends.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from django.conf import settings as django_settings
from django.db import connection

from cvat_lambda.conf import settings
from cvat_lambda.gateway.cancel import CancelToken
from cvat_lambda.requests.run.divide import FrameCursor, split_off
from cvat_lambda.requests.run.shard_context import ShardRun
from cvat_lambda.requests.store.models import Shard, Status
from cvat_lambda.requests.store.processes import worker_name

logger = logging.getLogger(__name__)

POLL_S: Final = 0.2  # seconds between two looks at the helpers
WINDOW_S: Final = 3.0  # the processor time of this period decides
MIN_PART_S: Final = 5.0  # a part takes one process at least this long
STOP_S: Final = 20.0  # a helper that has not ended after this time is killed


class Meter:
    """Measures the processor time and the frames of this process over the latest window."""

    def __init__(self, taken: Callable[[], int]) -> None:
        self._taken = taken
        self.rate = 0.0  # frames a second
        self.restart()

    def restart(self) -> None:
        """Begin a new window."""
        self._begun_at = time.monotonic()
        self._processor_s = time.process_time()
        self._frames = self._taken()

    def read(self) -> float | None:
        """Return the share of a core that this process used; None inside a window."""
        took_s = time.monotonic() - self._begun_at
        if took_s < WINDOW_S:
            return None
        share = (time.process_time() - self._processor_s) / took_s
        self.rate = (self._taken() - self._frames) / took_s
        self.restart()
        return share


@dataclass(slots=True, kw_only=True)
class Helper:
    """One helper process."""

    process: subprocess.Popen[bytes]
    is_ready: bool = False  # for a shard
    shard_id: int | None = None  # the shard that it runs

    @classmethod
    def start(cls, command: Sequence[str]) -> Helper:
        """Start a process with the settings and the import path of this one."""
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": str(
                    os.environ.get("DJANGO_SETTINGS_MODULE") or django_settings.SETTINGS_MODULE
                ),
                "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
            },
        )
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        return cls(process=process)

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def read(self) -> None:
        """Note that the helper is ready, if it wrote so."""
        assert self.process.stdout is not None
        if self.process.stdout.read():
            self.is_ready, self.shard_id = True, None

    def run(self, shard_id: int) -> None:
        """Let the helper run a shard. If it has ended, recovery finds the shard."""
        assert self.process.stdin is not None
        self.is_ready, self.shard_id = False, shard_id
        try:
            self.process.stdin.write(b"%d\n" % shard_id)
            self.process.stdin.flush()
        except OSError:
            pass

    def close(self) -> None:
        """Tell the helper to end. It returns a shard that it runs to the queue."""
        assert self.process.stdin is not None
        self.is_ready = False
        if self.shard_id is None:
            self.process.terminate()  # it may still start, which takes seconds
        try:
            self.process.stdin.close()
        except OSError:
            pass

    def end(self, timeout_s: float) -> None:
        """Wait for the end of the process; kill it after the time limit."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@dataclass(kw_only=True)
class HelperProcesses:
    """The helper processes of one run, and the thread that starts them.

    An exception of the thread cancels the run and is `error`.
    """

    run: ShardRun
    frames: FrameCursor
    command: Sequence[str]  # starts a helper
    cancel: CancelToken
    error: BaseException | None = None
    has_lost_shard: bool = False  # of a helper that was killed; recovery queues it again
    _helpers: list[Helper] = field(default_factory=list)
    _given_up: bool = False  # a helper ended unexpectedly: start no further one
    _stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._meter = Meter(lambda: self.frames.taken)
        self._thread = threading.Thread(target=self._watch, name="helpers", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wait(self) -> None:
        """Return when all helpers have run the frames that they have. Raise Cancelled.

        A helper that still starts has none: `stop` ends it.
        """
        self._given_up = True  # no frame is left to give away
        while any(helper.shard_id is not None for helper in list(self._helpers)):
            self.cancel.wait(POLL_S)
        self.cancel.check()

    def stop(self) -> None:
        """End the thread and all helpers. Shards that they run return to the queue."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()
        for helper in self._helpers:
            helper.close()
        end = time.monotonic() + STOP_S
        for helper in self._helpers:
            helper.end(max(0.0, end - time.monotonic()))
        self._helpers.clear()

    def _watch(self) -> None:
        try:
            while not self._stopped.wait(POLL_S):
                self._look()
        except BaseException as exc:
            self.error = exc
            self.cancel.cancel()
        finally:
            connection.close()

    def _look(self) -> None:
        share = self._meter.read()
        for helper in list(self._helpers):
            helper.read()
            if helper.has_ended:
                self._remove(helper)
            elif helper.is_ready:
                self._feed(helper)
        if share is not None and self._may_start(share):
            self._start_helper(share)

    def _may_start(self, share: float) -> bool:
        """Return whether a further process may be of use."""
        if self._given_up or len(self._helpers) >= most_helpers():
            return False
        if any(helper.shard_id is None for helper in self._helpers):
            return False  # one starts, and its effect is not known yet
        if share < settings.HELPER_PROCESSOR_SHARE or not self._part(len(self._helpers) + 1):
            return False
        return self.frames.remaining >= settings.HELPER_MIN_REMAINING_S * self._meter.rate

    def _start_helper(self, share: float) -> None:
        logger.info(
            "Request %s uses %.2f of a core for %.0f frames a second: a helper process starts",
            self.run.request.pk,
            share,
            self._meter.rate,
            extra={"action": "helper_started", "request": self.run.request.pk},
        )
        try:
            self._helpers.append(Helper.start(self.command))
        except OSError as exc:
            self._give_up(str(exc))

    def _feed(self, helper: Helper) -> None:
        """Give a ready helper the next part, or end it if too few frames are left."""
        count = self._part(len(self._helpers))
        if count and not self._stopped.is_set():
            self.frames.give(count, lambda part: helper.run(split_off(self.run, part)))
            self._meter.restart()  # what this process uses beside the new part is not known yet
        if helper.is_ready:
            helper.close()

    def _part(self, helpers: int) -> int:
        """Return how many frames a helper gets: fewer towards the end, so that all end together."""
        remaining = self.frames.remaining
        least_s = min(MIN_PART_S, settings.HELPER_MIN_REMAINING_S)
        part = max(remaining // (2 * (helpers + 1)), int(least_s * self._meter.rate))
        return part if 0 < part <= remaining // 2 else 0

    def _remove(self, helper: Helper) -> None:
        helper.end(0)
        self._helpers.remove(helper)
        status = helper.process.returncode
        if helper.shard_id is not None:
            self._abandon(helper.shard_id, worker_name(helper.process.pid))
        if helper.shard_id is not None or status not in (0, -signal.SIGTERM):
            self._give_up(f"the last one ended with status {status}")

    def _abandon(self, shard_id: int, worker: str) -> None:
        """Return the shard of a helper that was killed, so that recovery need not wait for it."""
        shards = Shard.objects.filter(pk=shard_id)
        shards.filter(status=Status.STARTED, worker=worker[:255]).update(heartbeat_at=None)
        shards.filter(status=Status.QUEUED).update(enqueued_at=None)
        self.has_lost_shard = True

    def _give_up(self, reason: str) -> None:
        self._given_up = True
        logger.warning(
            "Request %s continues without a further helper process: %s",
            self.run.request.pk,
            reason,
            extra={"action": "helper_lost", "request": self.run.request.pk},
        )


def most_helpers() -> int:
    """Return how many helpers one run may have: all processes together use each core once."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return int(min(settings.HELPER_PROCESSES, cores - 1))
