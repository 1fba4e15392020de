"""The retry rules, with a clock that the test moves."""

from __future__ import annotations

import pytest

from cvat_lambda.errors import (
    FunctionAnswerInvalid,
    FunctionBusy,
    FunctionCrashed,
    FunctionFailed,
    FunctionNotFound,
    FunctionRejected,
    FunctionTimeout,
    FunctionUnavailable,
    LambdaError,
    PayloadTooLarge,
    PlatformUnreachable,
)
from cvat_lambda.gateway.error_rules import FunctionNotDeployed, HandlerUnavailable, ProxyTimeout
from cvat_lambda.gateway.retry import Retries, RetryPolicy, interactive_policy


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def longest(low: float, high: float) -> float:
    return high


def start(
    *,
    max_attempts: int = 5,
    budget_s: float = 60.0,
    max_retry_after_s: float = 0.0,
    clock: Clock | None = None,
) -> Retries:
    return RetryPolicy(
        max_attempts=max_attempts,
        budget_s=budget_s,
        max_retry_after_s=max_retry_after_s,
        clock=clock or Clock(),
        jitter=longest,
    ).start()


@pytest.mark.parametrize(
    "error",
    [
        FunctionFailed(),
        FunctionAnswerInvalid(),
        FunctionRejected(),
        PayloadTooLarge(),
        FunctionNotFound(),
    ],
)
def test_permanent_error_is_not_retried(error: LambdaError) -> None:
    assert start().pause_s(error) is None


@pytest.mark.parametrize("error", [FunctionTimeout(), FunctionCrashed()])
def test_input_that_may_have_crashed_the_function_is_retried_once(error: LambdaError) -> None:
    retries = start()
    assert retries.pause_s(error) == 1.0
    assert retries.pause_s(error) is None
    assert retries.attempts == 2


def test_handler_that_answers_unavailable_is_given_up_after_two_retries() -> None:
    retries = start()
    assert [retries.pause_s(HandlerUnavailable()) for _ in range(3)] == [1.0, 2.0, None]
    assert retries.attempts == 3


@pytest.mark.parametrize("error", [FunctionTimeout(), ProxyTimeout(), FunctionNotDeployed()])
def test_interactive_call_is_not_repeated_after_a_timeout_or_during_a_build(
    error: LambdaError,
) -> None:
    assert interactive_policy().start().pause_s(error) is None


def test_interactive_call_is_repeated_once_if_nothing_can_be_reached() -> None:
    retries = interactive_policy().start()
    pause_s = retries.pause_s(PlatformUnreachable())
    assert pause_s is not None
    assert pause_s <= 0.5
    assert retries.pause_s(PlatformUnreachable()) is None


@pytest.mark.parametrize("error", [FunctionUnavailable(), FunctionCrashed(), FunctionFailed()])
def test_reported_attempts_do_not_exceed_the_allowed_ones(error: LambdaError) -> None:
    clock = Clock()
    retries = start(max_attempts=3, budget_s=100.0, clock=clock)
    for _ in range(50):
        retries.begin()
        retries.pause_s(FunctionUnavailable())
        clock.now += 1.0
    retries.pause_s(error)
    assert retries.attempts <= 3


def test_error_after_a_run_is_not_retried_with_one_attempt_allowed() -> None:
    assert start(max_attempts=1).pause_s(FunctionCrashed()) is None


@pytest.mark.parametrize(
    ("error", "pauses"),
    [
        (FunctionBusy(), [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]),
        (FunctionUnavailable(), [1.0, 2.0, 4.0, 5.0, 5.0]),
        (PlatformUnreachable(), [0.5, 1.0, 2.0, 4.0, 5.0]),
    ],
)
def test_error_without_a_run_is_retried_with_growing_pauses(
    error: LambdaError, pauses: list[float]
) -> None:
    retries = start(max_attempts=1)  # these cost no attempt
    assert [retries.pause_s(error) for _ in pauses] == pauses


def test_retries_end_with_the_time_budget() -> None:
    clock = Clock()
    retries = start(budget_s=10.0, clock=clock)
    assert retries.pause_s(FunctionUnavailable()) == 1.0
    clock.now += 9.0
    assert retries.pause_s(FunctionUnavailable()) == 1.0  # not 2 s: only 1 s is left
    clock.now += 1.0
    assert retries.pause_s(FunctionUnavailable()) is None


def test_slow_attempt_does_not_use_the_budget_of_the_restart_after_it() -> None:
    """A frame of two minutes, followed by a restart of the function, used to fail the request."""
    clock = Clock()
    retries = start(budget_s=10.0, clock=clock)
    retries.begin()
    clock.now += 120.0
    assert retries.pause_s(FunctionTimeout()) == 1.0
    clock.now += 1.0
    retries.begin()
    assert retries.pause_s(FunctionUnavailable()) == 1.0
    assert retries.unavailable_since == clock.now
    clock.now += 10.0
    retries.begin()
    assert retries.pause_s(FunctionUnavailable()) is None


def test_wait_for_a_slot_does_not_use_the_budget() -> None:
    clock = Clock()
    retries = start(budget_s=10.0, clock=clock)
    retries.begin()
    assert retries.pause_s(FunctionUnavailable()) == 1.0
    clock.now += 31.0
    retries.begin(queued_s=30.0)
    assert retries.pause_s(FunctionUnavailable()) == 2.0


def test_budget_counts_from_the_begin_of_the_first_refused_attempt() -> None:
    clock = Clock()
    retries = start(budget_s=5.0, clock=clock)
    retries.begin()
    clock.now += 10.0  # waiting in the function's queue
    assert retries.pause_s(FunctionBusy()) is None


def test_proxy_timeout_is_retried_as_often_as_attempts_are_allowed() -> None:
    retries = start(max_attempts=5)
    pauses = [retries.pause_s(ProxyTimeout()) for _ in range(5)]
    assert pauses == [2.0, 4.0, 8.0, 16.0, None]


def test_retry_after_extends_the_budget_up_to_a_limit() -> None:
    clock = Clock()
    retries = start(budget_s=10.0, max_retry_after_s=200.0, clock=clock)
    assert retries.pause_s(FunctionBusy(retry_after_s=180.0)) == 180.0
    clock.now += 180.0
    assert retries.pause_s(FunctionUnavailable()) == 1.0  # the rest of the budget
    clock.now += 1.0
    assert retries.pause_s(FunctionBusy(retry_after_s=60.0)) is None  # 241 s > 10 s + 200 s


def test_retry_after_is_honoured_within_the_budget() -> None:
    assert start().pause_s(FunctionBusy(retry_after_s=7)) == 7
    assert start(budget_s=5.0).pause_s(FunctionBusy(retry_after_s=7)) is None


def test_error_marked_permanent_is_not_retried() -> None:
    error = FunctionUnavailable("it could not be deployed")
    error.permanent = True
    assert start().pause_s(error) is None


def test_pause_is_drawn_from_the_whole_range() -> None:
    drawn: list[tuple[float, float]] = []

    def draw(low: float, high: float) -> float:
        drawn.append((low, high))
        return low

    policy = RetryPolicy(max_attempts=2, budget_s=60, clock=Clock(), jitter=draw)
    assert policy.start().pause_s(FunctionUnavailable()) == 0.0
    assert drawn == [(0.0, 1.0)]
