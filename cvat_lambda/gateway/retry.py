"""Decide whether another attempt makes sense, and how long to pause before it.

Inference has no side effects, so an input that may have run can run again. An input that may have
crashed its function gets one more try only, because it may be the cause. A failure of an
invocation that certainly did not run uses time, but no attempt: a function that starts or is busy
gets the whole time budget, counted from the first such failure in a row. A request that timed out
in a proxy is repeated up to the limit of attempts: the function may have been scaled to zero.

An interactive call is not repeated after a timeout, and is repeated once if the platform cannot be
reached: the person can click again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from cvat_lambda.conf import settings
from cvat_lambda.errors import (
    FunctionBusy,
    FunctionCrashed,
    FunctionError,
    FunctionTimeout,
    FunctionUnavailable,
    LambdaError,
    PlatformUnreachable,
)
from cvat_lambda.gateway.error_rules import (
    AgentLost,
    FunctionNotDeployed,
    HandlerUnavailable,
    ProxyTimeout,
)

_INTERACTIVE_BUDGET_S: Final = 5.0  # for a free worker or a restart, after the function's own queue
MAX_RETRY_AFTER_S: Final = 900.0  # what Retry-After may add to the budget of a background request


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How a kind of error is retried."""

    first_pause_s: float  # longest pause before the first retry; it doubles with each retry
    longest_pause_s: float
    may_have_run: bool = False  # the function may have worked on the input: it costs an attempt
    max_retries: int | None = None  # after this kind of error


_BUSY: Final = Rule(first_pause_s=0.1, longest_pause_s=5.0)
_STARTING: Final = Rule(first_pause_s=1.0, longest_pause_s=5.0)
_CRASHED: Final = Rule(first_pause_s=1.0, longest_pause_s=2.0, may_have_run=True, max_retries=1)
Rules = Mapping[type[LambdaError], Rule]  # keys are exact classes; other errors are not retried

BACKGROUND_RULES: Final[Rules] = {
    FunctionBusy: _BUSY,
    FunctionUnavailable: _STARTING,
    FunctionNotDeployed: _STARTING,
    PlatformUnreachable: Rule(first_pause_s=0.5, longest_pause_s=5.0),
    FunctionCrashed: _CRASHED,
    FunctionTimeout: _CRASHED,
    # People stop their agents at any time: the input is seldom the cause.
    AgentLost: Rule(first_pause_s=0.1, longest_pause_s=1.0, may_have_run=True, max_retries=3),
    HandlerUnavailable: Rule(
        first_pause_s=1.0, longest_pause_s=4.0, may_have_run=True, max_retries=2
    ),
    ProxyTimeout: Rule(first_pause_s=2.0, longest_pause_s=30.0, may_have_run=True),
}
INTERACTIVE_RULES: Final[Rules] = {
    FunctionBusy: _BUSY,
    FunctionUnavailable: _STARTING,
    PlatformUnreachable: Rule(first_pause_s=0.5, longest_pause_s=0.5, max_retries=1),
    FunctionCrashed: _CRASHED,
    AgentLost: _CRASHED,
    HandlerUnavailable: _CRASHED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how long a caller retries."""

    max_attempts: int  # that may have run
    budget_s: float  # for failures in a row that did not run: starting, busy, unreachable
    max_retry_after_s: float = 0.0  # that the function's own Retry-After may add to the budget
    rules: Rules = field(default_factory=lambda: BACKGROUND_RULES)
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[float, float], float] = random.uniform

    def start(self) -> Retries:
        """Begin to count the attempts of one call."""
        return Retries(self)


class Retries:
    """Counts the attempts of one call."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._ran = 0  # failed attempts that may have run
        self._failures: dict[type[LambdaError], int] = {}
        self._begun_at: float | None = None  # of the present attempt
        self._counted_from = 0.0  # the budget
        self._queued_s = 0.0  # since then, the wait for a slot of the limiter
        self._asked_s = 0.0  # since then, the sum of Retry-After
        # The first of the present row of failures that did not run.
        self.unavailable_since: float | None = None

    @property
    def attempts(self) -> int:
        """The failed attempts that may have run; never more than the policy's `max_attempts`."""
        return self._ran

    def begin(self, *, queued_s: float = 0.0) -> None:
        """Note that an attempt begins after a wait for a slot, which counts for no budget."""
        self._queued_s += queued_s
        self._begun_at = self._policy.clock()

    def pause_s(self, error: LambdaError) -> float | None:
        """Note a failed attempt; return the pause before the next one, None to give up.

        The pause is random between 0 and a limit that doubles ("full jitter"), so that callers
        that failed together do not retry together. Retry-After is honoured.
        """
        kind = type(error)
        rule = self._policy.rules.get(kind)
        self._ran += _may_have_run(error)
        if rule is None or error.permanent:
            return None
        failures = self._failures[kind] = self._failures.get(kind, 0) + 1
        if rule.max_retries is not None and failures > rule.max_retries:
            return None
        if self._ran >= self._policy.max_attempts:
            return None
        longest = min(rule.longest_pause_s, rule.first_pause_s * 2 ** min(failures - 1, 16))
        pause_s = self._policy.jitter(0.0, longest)
        asked_s = retry_after_s(error)
        if asked_s is not None:
            pause_s = max(pause_s, asked_s)
        if rule.may_have_run:
            self.unavailable_since = None
            return pause_s if pause_s <= longest + self._policy.max_retry_after_s else None
        left_s = self._left_s(asked_s or 0.0)
        if left_s <= 0 or (asked_s is not None and asked_s > left_s):
            return None
        return min(pause_s, left_s)  # the last attempt is at the very end of the budget

    def _left_s(self, asked_s: float) -> float:
        """Return what is left of the time budget."""
        now = self._policy.clock()
        if self.unavailable_since is None:
            self.unavailable_since = now
            self._counted_from = now if self._begun_at is None else self._begun_at
            self._queued_s = self._asked_s = 0.0
        self._asked_s += asked_s
        budget_s = self._policy.budget_s + min(self._asked_s, self._policy.max_retry_after_s)
        return budget_s - (now - self._counted_from - self._queued_s)


def _may_have_run(error: LambdaError) -> bool:
    """Return whether the function may have worked on the input before this error."""
    rule = BACKGROUND_RULES.get(type(error))
    return rule.may_have_run if rule is not None else isinstance(error, FunctionError)


def retry_after_s(error: LambdaError) -> float | None:
    """Return the seconds of the function's Retry-After."""
    asked = error.details.get("retry_after_s")
    return float(asked) if isinstance(asked, int | float) else None


def interactive_policy() -> RetryPolicy:
    """Return the policy of one interactive call."""
    return RetryPolicy(max_attempts=2, budget_s=_INTERACTIVE_BUDGET_S, rules=INTERACTIVE_RULES)


def background_policy() -> RetryPolicy:
    """Return the policy of a background request for one frame."""
    return RetryPolicy(
        max_attempts=settings.MAX_ATTEMPTS,
        budget_s=settings.COLD_START_S,
        max_retry_after_s=MAX_RETRY_AFTER_S,
    )
