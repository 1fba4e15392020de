"""When another attempt makes sense, and how long to wait before it.

Inference has no side effects, so what may have run can be run again; what killed its function
once gets one more try only, for its input may be the cause. What certainly has not run costs no
attempt, only time: a function that starts, wakes up or is busy gets the whole budget, counted from
the first such failure in a row. A proxy that gave up on a function is asked again as often as
attempts are allowed: it may have been waking the function up.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cvat_lambda.conf import settings
from cvat_lambda.errors import (
    FunctionBusy,
    FunctionCrashed,
    FunctionTimeout,
    FunctionUnavailable,
    LambdaError,
    PlatformUnreachable,
)
from cvat_lambda.gateway.responses import ProxyTimeout

_PEOPLE_WAIT_S: Final = 5.0  # for a worker or a restart, on top of the function's own queue
MAX_RETRY_AFTER_S: Final = 900.0  # a Retry-After adds to a request's budget, up to this in all


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How a kind of error is retried."""

    first_pause_s: float  # the longest pause before the first retry; doubled before each other
    longest_pause_s: float
    ran: bool = False  # the function may have worked on the input: it counts as an attempt
    most: int | None = None  # retries after this kind of error, at most


RULES: Final[Mapping[type[LambdaError], Rule]] = {
    FunctionBusy: Rule(first_pause_s=0.1, longest_pause_s=5.0),
    FunctionUnavailable: Rule(first_pause_s=1.0, longest_pause_s=5.0),
    PlatformUnreachable: Rule(first_pause_s=0.5, longest_pause_s=5.0),
    FunctionCrashed: Rule(first_pause_s=1.0, longest_pause_s=2.0, ran=True, most=1),
    FunctionTimeout: Rule(first_pause_s=1.0, longest_pause_s=2.0, ran=True, most=1),
    ProxyTimeout: Rule(first_pause_s=2.0, longest_pause_s=30.0, ran=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How much patience a caller has."""

    max_attempts: int  # that may have run
    budget_s: float  # for what has not run, several times in a row: starting, busy, unreachable
    max_retry_after_s: float = 0.0  # that the function's own Retry-After may add to it
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[float, float], float] = random.uniform

    def start(self) -> Retries:
        """Begin to count for one call."""
        return Retries(self)


class Retries:
    """The attempts of one call, counted."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._ran = 0
        self._seen: dict[type[LambdaError], int] = {}
        self._begun_at: float | None = None  # of the present attempt
        self._counted_from = 0.0  # the budget
        self._queued_s = 0.0  # since then, for a place among our own calls
        self._asked_s = 0.0  # since then, by the function itself
        self.attempts = 0
        self.unavailable_since: float | None = (
            None  # first failure of those in a row that did not run
        )

    def begin(self, *, queued_s: float = 0.0) -> None:
        """An attempt begins; so long it waited for its turn, which counts for no budget."""
        self._queued_s += queued_s
        self._begun_at = self._policy.clock()

    def pause_s(self, error: LambdaError) -> float | None:
        """Take note of a failed attempt; return the pause before the next, None to give up.

        The pause is between 0 and a limit that doubles ("full jitter"), so that callers who
        failed together do not come back together. Retry-After is honoured.
        """
        self.attempts += 1
        rule = RULES.get(type(error))
        if rule is None or error.permanent:
            return None
        times = self._seen[type(error)] = self._seen.get(type(error), 0) + 1
        self._ran += rule.ran
        if rule.most is not None and times > rule.most:
            return None
        if self._ran >= self._policy.max_attempts:
            return None
        longest = min(rule.longest_pause_s, rule.first_pause_s * 2 ** min(times - 1, 16))
        pause_s = self._policy.jitter(0.0, longest)
        asked_s = retry_after_s(error)
        if asked_s is not None:
            pause_s = max(pause_s, asked_s)
        if rule.ran:
            self.unavailable_since = None
            return pause_s if pause_s <= longest + self._policy.max_retry_after_s else None
        left_s = self._left_s(asked_s or 0.0)
        if left_s <= 0 or (asked_s is not None and asked_s > left_s):
            return None
        return min(pause_s, left_s)  # the last attempt is at the budget's very end

    def _left_s(self, asked_s: float) -> float:
        """What is left of the budget of time."""
        now = self._policy.clock()
        if self.unavailable_since is None:
            self.unavailable_since = now
            self._counted_from = now if self._begun_at is None else self._begun_at
            self._queued_s = self._asked_s = 0.0
        self._asked_s += asked_s
        budget_s = self._policy.budget_s + min(self._asked_s, self._policy.max_retry_after_s)
        return budget_s - (now - self._counted_from - self._queued_s)


def retry_after_s(error: LambdaError) -> float | None:
    """The seconds for which the function asked to be left alone."""
    asked = error.details.get("retry_after_s")
    return float(asked) if isinstance(asked, int | float) else None


def interactive_policy() -> RetryPolicy:
    """The patience of a person who waits for one call."""
    return RetryPolicy(max_attempts=2, budget_s=_PEOPLE_WAIT_S)


def background_policy() -> RetryPolicy:
    """The patience of a background request with one frame."""
    return RetryPolicy(
        max_attempts=settings.MAX_ATTEMPTS,
        budget_s=settings.COLD_START_S,
        max_retry_after_s=MAX_RETRY_AFTER_S,
    )
