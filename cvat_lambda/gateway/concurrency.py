"""How many invocations of a function this process has in flight at once.

All processes together have as many as the function works on at a time, and up to two that wait at
its door: they hide the way there, and the more the faster the function is. Each live run has its
part of them (`crowd`). A function that says it is busy gets fewer (others use it too), then again
one more after each round that went well; one that says when to come back is left alone till then.

A person's call goes before those of background requests, and has a place that they cannot take.
While somebody waits for an answer, in whatever process, nobody waits at the door for a background
request, and one worker is left free.
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
from cvat_lambda.gateway.cancel import CallAbandoned, Cancel
from cvat_lambda.gateway.load_sharing import ALONE, Crowd, crowds

AT_THE_DOOR: Final = 2
# Of a function that takes so long (s) for an input, fewer: the way there is a small part of its
# time, and a person's first call would have to wait for them.
_ONE_AT_THE_DOOR_S: Final = 0.1
_NONE_AT_THE_DOOR_S: Final = 0.5
_NEWEST: Final = 0.2  # weight of the newest time in their mean

HELD_BACK_S: Final = 10.0  # after so long one background call is let in, whoever waits
_LOOK_S: Final = 1.0  # a call that waits looks so often whether it may go in
_LOWER: Final = 0.75


class NoPlace(FunctionBusy):
    """The caller waited for a place as long as the function lets a call wait."""


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
        self._takes_s = 0.0  # the function for one input, about; 0: not known yet
        self._crowd = ALONE
        self._held_until = 0.0  # time.monotonic()
        self._last_request_at = time.monotonic()

    @property
    def ceiling(self) -> int:
        """The most invocations at once, for background requests."""
        return max(1, min(self._workers + AT_THE_DOOR, settings.MAX_IN_FLIGHT))

    @property
    def limit(self) -> int:
        """How many background invocations may be in flight here at present."""
        crowd = self._crowd
        places = max(1, min(int(self._limit), self._workers + self._at_the_door()))
        if crowd.people:
            places = min(places, self._workers - 1)
        elif crowd.lately:
            places = min(places, max(1, self._workers - 1))
        return crowd.share(places)

    def resize(self, workers: int) -> None:
        """Follow a function whose workers or replicas changed."""
        if workers == self._workers:
            return
        with self._lock:
            self._workers = workers
            self._limit = float(self.ceiling)
            self._admit()

    def run(self) -> AbstractContextManager[None]:
        """Be a live run on the function: those of all processes share its places."""
        return crowds.run(self._function_id, self._follow)

    @contextmanager
    def place(
        self, *, cancel: Cancel, person: bool = False, timeout_s: float | None = None
    ) -> Iterator[None]:
        """Hold a place for one invocation; wait for it first.

        Raises CallAbandoned as soon as ``cancel`` is set, NoPlace after ``timeout_s``.
        """
        if person:
            with crowds.person(self._function_id), self._place(cancel, True, timeout_s):
                yield
        else:
            with self._place(cancel, False, timeout_s):
                yield

    def succeeded(self, took_s: float | None = None) -> None:
        """An invocation was let in by the function, for so long: a little more is tried."""
        with self._lock:
            self._answers_until_lowering -= 1
            if took_s is not None:
                self._note_time(took_s)
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

    def hold(self, seconds: float) -> None:
        """Let no background call in for so long: the function asked for it."""
        with self._lock:
            self._held_until = max(self._held_until, time.monotonic() + seconds)

    def _follow(self, crowd: Crowd) -> None:
        with self._lock:
            self._crowd = crowd
            self._admit()

    def _at_the_door(self) -> int:
        if self._takes_s == 0 or self._takes_s >= _NONE_AT_THE_DOOR_S:
            return 0  # none before the first answer, either
        return 1 if self._takes_s >= _ONE_AT_THE_DOOR_S else AT_THE_DOOR

    def _note_time(self, took_s: float) -> None:
        """Leave out what a call waited at the function's door, behind those of all runs."""
        of_all_runs = min(self._inside * self._crowd.runs, self._workers + self._at_the_door())
        alone_s = took_s * min(1.0, self._workers / max(1, of_all_runs))
        self._takes_s += (alone_s - self._takes_s) * (_NEWEST if self._takes_s else 1.0)

    @contextmanager
    def _place(self, cancel: Cancel, person: bool, timeout_s: float | None) -> Iterator[None]:
        self._enter(cancel, person, timeout_s)
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                self._admit()

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
                self._wait(waiter, timeout_s)
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
        raise NoPlace(f"all workers of function '{self._function_id}' are busy")

    def _wait(self, waiter: _Waiter, timeout_s: float | None) -> None:
        """Until it is woken or late; now and then it looks itself, for time opens places too."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            now = time.monotonic()
            left_s = _LOOK_S if end is None else min(_LOOK_S, end - now)
            if self._held_until > now:
                left_s = min(left_s, self._held_until - now)
            if left_s <= 0 or waiter.wake.wait(left_s):
                return
            with self._lock:
                self._admit()

    def _admit(self) -> None:
        """Let in whoever there is room for; the lock is held."""
        while self._people and self._inside < max(1, int(self._limit)) + 1:
            self._let_in(self._people)
        while self._requests and not self._people and self._may_admit_request():
            self._last_request_at = time.monotonic()
            self._let_in(self._requests)

    def _may_admit_request(self) -> bool:
        now = time.monotonic()
        if now < self._held_until:
            return False
        if self._inside < self.limit:
            return True
        # Whoever waits: one, of all runs together, in so long.
        crowd = self._crowd
        waited_s = now - self._last_request_at
        return self._inside == 0 and crowd.share(1) > 0 and waited_s > HELD_BACK_S * crowd.runs

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
