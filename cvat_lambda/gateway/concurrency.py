"""Limit how many invocations of a function this process has in flight at once.

All processes together have as many invocations in flight as the function has workers, and up to
`MAX_WAITING` more that wait at the function, which hides the transfer time. A faster function gets
more of them. Background runs share these slots (`load_sharing`). The limit falls
when the function answers "busy" (others use it too), and rises by one after each round of
successes. A function that sends Retry-After gets no background invocation until then.

An interactive call has precedence over background invocations, and one slot is reserved for it.
While an interactive caller waits in any process, no background invocation waits at the function
and one worker stays free.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from cvat_lambda.conf import settings
from cvat_lambda.errors import FunctionBusy
from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.gateway.cancel import Cancelled, CancelToken
from cvat_lambda.gateway.load_sharing import NO_OTHER_LOAD, FunctionLoad, LoadRegistry

MAX_WAITING: Final = 2  # invocations that wait at a function, beyond its workers
# Fewer wait at a slow function: the transfer is a small part of its time, and the next
# interactive call would have to wait for them. Seconds that the function takes for one input.
ONE_WAITING_S: Final = 0.1
NONE_WAITING_S: Final = 0.5
_WEIGHT_OF_NEWEST: Final = 0.2  # in the moving average of the function's time

MAX_HOLD_BACK_S: Final = 10.0  # one background invocation starts after this time in any case
_POLL_INTERVAL_S: Final = 1.0  # a waiting call checks this often whether it may start
_DECREASE: Final = 0.75  # the factor of the limit after a refusal


class LimiterTimeout(FunctionBusy):
    """The caller waited for a slot as long as the function lets a call wait."""


class _Waiter:
    """A call that waits for a slot."""

    __slots__ = ("admitted", "wake")

    def __init__(self) -> None:
        self.admitted = False
        self.wake = threading.Event()


class ConcurrencyLimiter:
    """The slots of one function in this process. Its threads get them first come, first served."""

    def __init__(self, function_id: str, workers: int, load_registry: LoadRegistry) -> None:
        self._function_id = function_id
        self._load_registry = load_registry
        self._lock = threading.Lock()
        self._workers = workers
        self._limit = float(self.ceiling)
        self._in_flight = 0
        self._interactive: deque[_Waiter] = deque()
        self._background: deque[_Waiter] = deque()
        self._answers_until_decrease = 0
        self._function_time_s = 0.0  # for one input, moving average; 0: not known yet
        self._load = NO_OTHER_LOAD
        self._held_until = 0.0  # time.monotonic()
        self._last_background_at = time.monotonic()

    @property
    def ceiling(self) -> int:
        """The highest limit for background invocations."""
        return max(1, min(self._workers + MAX_WAITING, settings.MAX_IN_FLIGHT))

    @property
    def limit(self) -> int:
        """How many background invocations this process may have in flight now."""
        load = self._load
        slots = max(1, min(int(self._limit), self._workers + self._may_wait()))
        if load.interactive:
            slots = min(slots, self._workers - 1)
        elif load.recently_interactive:
            slots = min(slots, max(1, self._workers - 1))
        return load.share(slots)

    @property
    def waiting(self) -> int:
        """How many calls of this process wait for a slot."""
        return len(self._interactive) + len(self._background)

    def resize(self, workers: int) -> None:
        """Follow a function whose number of workers or replicas changed."""
        if workers == self._workers:
            return
        with self._lock:
            self._workers = workers
            self._limit = float(self.ceiling)
            self._admit()

    def background_run(self) -> AbstractContextManager[None]:
        """Count as a background run; the runs of all processes share the function's slots."""
        return self._load_registry.background_run(self._function_id, self.follow_load)

    @contextmanager
    def acquire(
        self, *, cancel: CancelToken, interactive: bool = False, timeout_s: float | None = None
    ) -> Iterator[None]:
        """Wait for a slot and hold it for one invocation.

        Raise Cancelled as soon as ``cancel`` is cancelled, LimiterTimeout after ``timeout_s``.
        """
        if interactive:
            with (
                self._load_registry.interactive_call(self._function_id),
                self._slot(cancel, True, timeout_s),
            ):
                yield
        else:
            with self._slot(cancel, False, timeout_s):
                yield

    def succeeded(self, took_s: float | None = None) -> None:
        """Record a success and its duration; raise the limit slightly."""
        with self._lock:
            self._answers_until_decrease -= 1
            if took_s is not None:
                self._note_time(took_s)
            if self._limit < self.ceiling:
                self._limit = min(float(self.ceiling), self._limit + 1 / self._limit)
                self._admit()

    def refused(self) -> None:
        """Record that the function was busy; lower the limit once for all invocations in flight."""
        with self._lock:
            self._answers_until_decrease -= 1
            if self._answers_until_decrease < 0:
                self._limit = max(1.0, self._limit * _DECREASE)
                self._answers_until_decrease = self._in_flight - 1  # the others in flight

    def hold(self, seconds: float) -> None:
        """Start no background invocation for this time: the function sent Retry-After."""
        with self._lock:
            self._held_until = max(self._held_until, time.monotonic() + seconds)

    def follow_load(self, load: FunctionLoad) -> None:
        """Take over the load of all processes on this function."""
        with self._lock:
            self._load = load
            self._admit()

    def _may_wait(self) -> int:
        """Return how many invocations may wait at the function: none before its first answer."""
        if self._function_time_s == 0 or self._function_time_s >= NONE_WAITING_S:
            return 0
        return 1 if self._function_time_s >= ONE_WAITING_S else MAX_WAITING

    def _note_time(self, took_s: float) -> None:
        """Add the function's own time to the average, without the wait behind other inputs."""
        of_all_runs = min(self._in_flight * self._load.runs, self._workers + self._may_wait())
        alone_s = took_s * min(1.0, self._workers / max(1, of_all_runs))
        weight = _WEIGHT_OF_NEWEST if self._function_time_s else 1.0
        self._function_time_s += (alone_s - self._function_time_s) * weight

    @contextmanager
    def _slot(
        self, cancel: CancelToken, interactive: bool, timeout_s: float | None
    ) -> Iterator[None]:
        self._wait_for_slot(cancel, interactive, timeout_s)
        try:
            yield
        finally:
            self._release()

    def _release(self) -> None:
        with self._lock:
            self._in_flight -= 1
            self._admit()

    def _wait_for_slot(
        self, cancel: CancelToken, interactive: bool, timeout_s: float | None
    ) -> None:
        cancel.check()
        waiter, queue = _Waiter(), self._interactive if interactive else self._background
        with self._lock:
            queue.append(waiter)
            self._admit()
            if waiter.admitted:
                return
        try:
            with cancel.interrupting(waiter.wake.set):
                self._wait(waiter, timeout_s)
        except Cancelled:
            pass
        with self._lock:
            if waiter.admitted and not cancel.cancelled:
                return
            if waiter.admitted:
                self._in_flight -= 1
                self._admit()
            else:
                queue.remove(waiter)
        cancel.check()
        raise LimiterTimeout(f"all workers of function '{self._function_id}' are busy")

    def _wait(self, waiter: _Waiter, timeout_s: float | None) -> None:
        """Return after a wake-up or a poll interval: some slots become free by time alone."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            now = time.monotonic()
            left_s = _POLL_INTERVAL_S if end is None else min(_POLL_INTERVAL_S, end - now)
            if self._held_until > now:
                left_s = min(left_s, self._held_until - now)
            if left_s <= 0 or waiter.wake.wait(left_s):
                return
            with self._lock:
                self._admit()

    def _admit(self) -> None:
        """Admit waiting calls to free slots; the caller holds the lock."""
        while self._interactive and self._in_flight < max(1, int(self._limit)) + 1:
            self._admit_first(self._interactive)
        while self._background and not self._interactive and self._may_admit_background():
            self._last_background_at = time.monotonic()
            self._admit_first(self._background)

    def _may_admit_background(self) -> bool:
        now = time.monotonic()
        if now < self._held_until:
            return False
        if self._in_flight < self.limit:
            return True
        # Interactive callers must not starve the runs: at least one invocation of all runs
        # starts in each period of this length.
        load = self._load
        waited_s = now - self._last_background_at
        return self._in_flight == 0 and load.share(1) > 0 and waited_s > MAX_HOLD_BACK_S * load.runs

    def _admit_first(self, queue: deque[_Waiter]) -> None:
        waiter = queue.popleft()
        waiter.admitted = True
        self._in_flight += 1
        waiter.wake.set()


class Limiters:
    """The concurrency limiters of all functions in this process."""

    def __init__(self, load_registry: LoadRegistry) -> None:
        self._load_registry = load_registry
        self._lock = threading.Lock()
        self._limiters: dict[str, ConcurrencyLimiter] = {}

    def of(self, spec: FunctionSpec) -> ConcurrencyLimiter:
        """Return the limiter of a function, sized for its present workers."""
        with self._lock:
            limiter = self._limiters.get(spec.id)
            if limiter is None:
                limiter = ConcurrencyLimiter(spec.id, spec.workers, self._load_registry)
                self._limiters[spec.id] = limiter
        limiter.resize(spec.workers)
        return limiter

    def reset(self) -> None:
        """Delete what was measured of each function."""
        with self._lock:
            self._limiters.clear()
