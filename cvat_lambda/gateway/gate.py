"""How many invocations of a function this process has in flight at once.

As many as the function works on at a time, and two that wait at its door: they hide the way
there. A function that says it is busy gets fewer (others use it too), then again one more after
each round that went well. A person's call goes before those of background requests, and has a
place that they cannot take.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cvat_lambda.conf import settings
from cvat_lambda.errors import FunctionBusy
from cvat_lambda.functions.spec import FunctionSpec

from .cancel import CallAbandoned, Cancel

AT_THE_DOOR: Final = 2
_LOWER: Final = 0.75


class _Waiter:
    """A call at the gate."""

    __slots__ = ("inside", "wake")

    def __init__(self) -> None:
        self.inside = False
        self.wake = threading.Event()


class Gate:
    """The places at one function's door; shared by all threads of the process, first come first."""

    def __init__(self, function_id: str, workers: int) -> None:
        self._function_id = function_id
        self._lock = threading.Lock()
        self._workers = workers
        self._limit = float(self.ceiling)
        self._inside = 0
        self._people: deque[_Waiter] = deque()
        self._requests: deque[_Waiter] = deque()
        self._answers_until_lowering = 0

    @property
    def ceiling(self) -> int:
        """The most invocations at once, for background requests."""
        return max(1, min(self._workers + AT_THE_DOOR, settings.MAX_IN_FLIGHT))

    @property
    def limit(self) -> int:
        """How many background invocations may be in flight at present."""
        return max(1, int(self._limit))

    def resize(self, workers: int) -> None:
        """Follow a function whose workers or replicas changed."""
        if workers == self._workers:
            return
        with self._lock:
            self._workers = workers
            self._limit = float(self.ceiling)
            self._admit()

    @contextmanager
    def place(
        self, *, cancel: Cancel, person: bool = False, timeout_s: float | None = None
    ) -> Iterator[None]:
        """Hold a place for one invocation; wait for it first.

        Raises CallAbandoned as soon as ``cancel`` is set, FunctionBusy after ``timeout_s``.
        """
        self._enter(cancel, person, timeout_s)
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                self._admit()

    def succeeded(self) -> None:
        """An invocation was let in by the function: a little more is tried."""
        with self._lock:
            self._answers_until_lowering -= 1
            if self._limit < self.ceiling:
                self._limit = min(float(self.ceiling), self._limit + 1 / self._limit)
                self._admit()

    def refused(self) -> None:
        """The function was busy: fewer at once, lowered once for all that were on their way."""
        with self._lock:
            self._answers_until_lowering -= 1
            if self._answers_until_lowering < 0:
                self._limit = max(1.0, self._limit * _LOWER)
                self._answers_until_lowering = self._inside - 1  # the others on their way

    def _enter(self, cancel: Cancel, person: bool, timeout_s: float | None) -> None:
        cancel.check()
        waiter, queue = _Waiter(), self._people if person else self._requests
        with self._lock:
            queue.append(waiter)
            self._admit()
            if waiter.inside:
                return
        try:
            with cancel.interrupting(waiter.wake.set):
                waiter.wake.wait(timeout_s)
        except CallAbandoned:
            pass
        with self._lock:
            if waiter.inside and not cancel.cancelled:
                return
            if waiter.inside:
                self._inside -= 1
                self._admit()
            else:
                queue.remove(waiter)
        cancel.check()
        raise FunctionBusy(f"all workers of function '{self._function_id}' are busy")

    def _admit(self) -> None:
        """Let in whoever there is room for; the lock is held."""
        while self._people and self._inside < self.limit + 1:
            self._let_in(self._people)
        while self._requests and not self._people and self._inside < self.limit:
            self._let_in(self._requests)

    def _let_in(self, queue: deque[_Waiter]) -> None:
        waiter = queue.popleft()
        waiter.inside = True
        self._inside += 1
        waiter.wake.set()


_lock: Final = threading.Lock()
_gates: Final[dict[str, Gate]] = {}


def gate_of(spec: FunctionSpec) -> Gate:
    """The gate of a function, the same for every thread of the process."""
    with _lock:
        gate = _gates.get(spec.id)
        if gate is None:
            gate = _gates[spec.id] = Gate(spec.id, spec.workers)
    gate.resize(spec.workers)
    return gate
