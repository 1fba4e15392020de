"""The bounded pipeline of a run: read ahead, invoke several at once, write in batches.

::

    reader ──units──▶ invokers (as many as the concurrency limit) ──results──▶ writer

The stages are threads because they mostly wait: for disk, function and database. Bounded queues
between them bound the memory. The number of invokers follows the number of the function's workers.
The first fatal error, or `abort` from any thread, cancels the invocations in flight and stops all
threads. Results that were not written are dropped; their frames have no outcome, so that a resume
runs them.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial

from django.db import connection

from cvat_lambda.conf import settings
from cvat_lambda.gateway.cancel import Cancelled, CancelToken
from cvat_lambda.requests.run.bounded_queue import BoundedQueue, QueueStopped
from cvat_lambda.requests.run.results import FrameResult, ReaderItem, Skips, Unit
from cvat_lambda.requests.run.writer import Writer

# Seconds that a thread may hold the interpreter lock while others wait for it. With Python's 5 ms,
# the writer would add 5 ms to the latency of each invocation.
SWITCH_INTERVAL_S = 0.0005
POLL_INTERVAL_S = 0.5  # seconds between two updates of the number of invokers

Invoke = Callable[[Unit], list[FrameResult]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """The functions that the threads of a pipeline call."""

    read: Callable[[], Generator[ReaderItem, None, None]]  # the reader thread creates and closes it
    invoke: Invoke  # an exception ends the whole run
    in_flight: Callable[[], int]  # the present number of invokers, at least 1
    writer: Writer


class Pipeline:
    """Runs the stages until every result is written, or until the first error."""

    def __init__(self, stages: Stages, *, cancel: CancelToken) -> None:
        self._stages = stages
        self._invoker_count = stages.in_flight()
        self._cancel = cancel
        # A few units beyond those in flight hide the time of reading; more would only cost memory.
        self._units: BoundedQueue[Unit] = BoundedQueue(
            max_items=_read_ahead(self._invoker_count), max_bytes=settings.READ_AHEAD_BYTES
        )
        # The results of a unit are one item, and are written in one batch: the state of a tracker
        # is known after the unit's last frame only.
        self._results: BoundedQueue[Sequence[FrameResult] | Skips] = BoundedQueue(
            max_items=4 * settings.BATCH_FRAMES, max_bytes=4 * settings.BATCH_FRAMES
        )
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._invokers: set[int] = set()  # numbers of the running invokers
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
        """Run to the end. Raise the first error of any thread, Cancelled when cancelled."""
        try:
            with (
                _short_switch_interval(),
                _frozen_heap(),
                self._cancel.interrupting(lambda: self.abort(Cancelled())),
            ):
                writer = self._start("writer", self._write)
                self._start_invokers()
                self._start("reader", self._read)
                while writer.is_alive():
                    writer.join(POLL_INTERVAL_S)
                    self._adjust_invokers()
                self._join()
        except (
            BaseException
        ) as exc:  # of a signal handler: the job's time limit, or the worker is stopped
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

    def _adjust_invokers(self) -> None:
        """Start or stop invokers, so that there are as many as `Stages.in_flight` says."""
        count = self._stages.in_flight()
        if count != self._invoker_count:
            self._invoker_count = count
            self._units.resize(_read_ahead(count))
        if not self._units.ended:
            self._start_invokers()

    def _start_invokers(self) -> None:
        with self._lock:
            new = [number for number in range(self._invoker_count) if number not in self._invokers]
            self._invokers.update(new)
        for number in new:
            self._start(f"invoker-{number}", partial(self._invoke, number))

    def _guarded(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except QueueStopped:
            pass  # another thread's error ends the run
        except BaseException as exc:
            self.abort(exc)
        finally:
            connection.close()

    def _read(self) -> None:
        with closing(self._stages.read()) as items:
            for item in items:
                if isinstance(item, Unit):
                    self._units.put(item, item.size)
                elif isinstance(item, Skips):
                    self._results.put(item)
                else:
                    self._results.put((item,), 1)
        self._units.close()

    def _invoke(self, number: int) -> None:
        while number < self._invoker_count and (unit := self._units.get()) is not None:
            results = self._stages.invoke(unit)
            self._results.put(results, len(results))
        with self._lock:
            self._invokers.discard(number)
            last = not self._invokers  # the invoker with number 0 runs to the end
        if last:
            # The reader closed the queue of units after it put its own results.
            self._results.close()

    def _write(self) -> None:
        while not self._results.ended:
            self._write_batch()

    def _write_batch(self) -> None:
        """Collect results until the batch is full or `BATCH_S` seconds have passed; write them."""
        batch: list[FrameResult] = []
        item = self._results.get()
        due_at = time.monotonic() + settings.BATCH_S
        while item is not None:
            if isinstance(item, Skips):
                self._stages.writer.skip(item)
            else:
                batch += item
            left_s = due_at - time.monotonic()
            if len(batch) >= settings.BATCH_FRAMES or left_s <= 0:
                break
            item = self._results.get(timeout_s=left_s)
        if batch:
            self._stages.writer.write(batch)


def _read_ahead(in_flight: int) -> int:
    return max(4, in_flight // 2)


@contextmanager
def _short_switch_interval() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, SWITCH_INTERVAL_S))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def _frozen_heap() -> Iterator[None]:
    """Exempt the objects of the loaded modules from garbage collection while the run lasts.

    The objects of frames come and go by the thousand. Each full collection that they cause would
    visit all of Django: with 50 tracked objects that is a fifth of the time of a frame.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
