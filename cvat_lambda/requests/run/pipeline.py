"""The bounded pipeline of a run: read ahead, invoke several at once, write in batches.

::

    reader ──units──▶ invokers (as many as the function has room for) ──results──▶ writer

Threads, since all the work is waiting: for disk, function and database. The queues between them
bound memory whatever the size of the task. Invokers come and go with the function's workers. The
first fatal error, or `abort` from any thread, abandons the calls in flight and stops everything;
results that were not written are dropped, and their frames have no outcome, so that a resume runs
them.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial

from django.db import connection

from cvat_lambda.conf import settings
from cvat_lambda.gateway.cancel import CallAbandoned, Cancel
from cvat_lambda.requests.run.bounded_queue import BoundedQueue, QueueStopped
from cvat_lambda.requests.run.results import FrameResult, ReaderItem, Skips, Unit
from cvat_lambda.requests.run.writer import Writer

# How long a thread may keep the interpreter while others want it. Python's 5 ms, which the writer
# uses up batch after batch, would be the whole latency of a fast function.
SWITCH_INTERVAL_S = 0.0005
POLL_INTERVAL_S = 0.5  # how often the number of invokers is made to follow

Invoke = Callable[[Unit], list[FrameResult]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """What the threads of a pipeline call."""

    read: Callable[[], Generator[ReaderItem, None, None]]  # made and closed by the reading thread
    invoke: Invoke  # raises what ends the whole run
    in_flight: Callable[[], int]  # how many may invoke at once, at present; at least 1
    writer: Writer


class Pipeline:
    """Runs stages until all is written, or until the first error."""

    def __init__(self, stages: Stages, *, cancel: Cancel) -> None:
        self._stages = stages
        self._wanted = stages.in_flight()
        self._cancel = cancel
        # A few units beyond those in flight hide the reading; more would only cost memory.
        self._units: BoundedQueue[Unit] = BoundedQueue(
            max_items=_read_ahead(self._wanted), max_bytes=settings.READ_AHEAD_BYTES
        )
        self._results: BoundedQueue[FrameResult | Skips] = BoundedQueue(
            max_items=4 * settings.BATCH_FRAMES
        )
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._invokers: set[int] = set()  # numbers of those that invoke
        self._threads: list[threading.Thread] = []

    def abort(self, error: BaseException) -> None:
        """End the run with this error, unless it has one already."""
        with self._lock:
            if self._error is None:
                self._error = error
        self._cancel.cancel()
        self._units.stop()
        self._results.stop()

    def run(self) -> None:
        """Run to the end. Raise the first error of any thread, CallAbandoned when cancelled."""
        try:
            with _quick_turns(), self._cancel.interrupting(lambda: self.abort(CallAbandoned())):
                writer = self._start("writer", self._write)
                self._start_invokers()
                self._start("reader", self._read)
                while writer.is_alive():
                    writer.join(POLL_INTERVAL_S)
                    self._follow()
                self._join()
        except BaseException as exc:  # a signal's: time limit of the job, stop of the worker
            self.abort(exc)
            self._join()
            raise
        if self._error is not None:
            raise self._error

    def _start(self, name: str, stage: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=self._guarded, args=(stage,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _follow(self) -> None:
        """Have as many invokers as the function has room for now."""
        wanted = self._stages.in_flight()
        if wanted != self._wanted:
            self._wanted = wanted
            self._units.resize(_read_ahead(wanted))
        if not self._units.ended:
            self._start_invokers()

    def _start_invokers(self) -> None:
        with self._lock:
            new = [number for number in range(self._wanted) if number not in self._invokers]
            self._invokers.update(new)
        for number in new:
            self._start(f"invoker-{number}", partial(self._invoke, number))

    def _guarded(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except QueueStopped:
            pass  # someone else's error ends the run
        except BaseException as exc:
            self.abort(exc)
        finally:
            connection.close()

    def _read(self) -> None:
        with closing(self._stages.read()) as items:
            for item in items:
                if isinstance(item, Unit):
                    self._units.put(item, item.size)
                else:
                    self._results.put(item)
        self._units.close()

    def _invoke(self, number: int) -> None:
        while number < self._wanted and (unit := self._units.get()) is not None:
            for result in self._stages.invoke(unit):
                self._results.put(result)
        with self._lock:
            self._invokers.discard(number)
            last = not self._invokers  # the first one stays until there is nothing left
        if last:
            # The reader closed the units, so it has put all of its own results before.
            self._results.close()

    def _write(self) -> None:
        while not self._results.ended:
            self._write_batch()

    def _write_batch(self) -> None:
        """Collect until the batch is full, or its first result is old enough."""
        batch: list[FrameResult] = []
        item = self._results.get()
        due_at = time.monotonic() + settings.BATCH_S
        while item is not None:
            if isinstance(item, Skips):
                self._stages.writer.skip(item)
            else:
                batch.append(item)
            left_s = due_at - time.monotonic()
            if len(batch) >= settings.BATCH_FRAMES or left_s <= 0:
                break
            item = self._results.get(timeout_s=left_s)
        if batch:
            self._stages.writer.write(batch)


def _read_ahead(in_flight: int) -> int:
    return max(4, in_flight // 2)


@contextmanager
def _quick_turns() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, SWITCH_INTERVAL_S))
    try:
        yield
    finally:
        sys.setswitchinterval(before)
