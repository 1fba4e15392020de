"""Exponential backoff for the restarts of a crashed process, and detection of a crash loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

STABLE_AFTER_S: Final = 60.0  # a process that ran this long did not crash at its start
CRASH_LOOP_AFTER: Final = 5  # crashes in a row without an answer in between
FIRST_DELAY_S: Final = 0.1
MAX_DELAY_S: Final = 30.0
MAX_DELAY_OF_USEFUL_S: Final = 1.0  # while the process answers calls between its crashes


class CrashLoopBackoff:
    """Counts the crashes of one process and says how long its next start is delayed.

    The first delay is `FIRST_DELAY_S`. Each further crash soon after a start doubles it, so that
    the process does not keep the machine busy.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._crashes = 0  # crashes soon after a start, in a row
        self._crashes_without_answer = 0  # those of them since the last answer
        self._has_answered = False  # since its start
        self._started_at = clock()

    @property
    def delay_s(self) -> float:
        """The pause before the next start in seconds."""
        if not self._crashes:
            return 0.0
        longest = MAX_DELAY_S if self._crashes_without_answer else MAX_DELAY_OF_USEFUL_S
        return min(FIRST_DELAY_S * 2.0 ** min(self._crashes - 1, 20), longest)

    @property
    def in_crash_loop(self) -> bool:
        """Whether the process crashes again and again without answering a call."""
        return self._crashes_without_answer >= CRASH_LOOP_AFTER

    def record_start(self) -> None:
        """Record that the process begins to load or becomes ready."""
        self._started_at = self._clock()
        self._has_answered = False

    def record_answer(self) -> None:
        """Record that the process has answered a call."""
        self._crashes_without_answer = 0
        self._has_answered = True

    def record_crash(self) -> None:
        """Record that the process ended unexpectedly."""
        if self._clock() - self._started_at >= STABLE_AFTER_S:
            self.reset()
        else:
            self._crashes += 1
            self._crashes_without_answer += not self._has_answered

    def record_failed_start(self) -> None:
        """Record that the process could not be started, however long the attempt took."""
        self._crashes += 1
        self._crashes_without_answer += 1

    def reset(self) -> None:
        """Forget all crashes: the process has run for long enough."""
        self._crashes = self._crashes_without_answer = 0
