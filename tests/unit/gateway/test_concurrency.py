"""The concurrency limiter: slots, order of admission, and how the limit changes."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack

import pytest
from pytest_django import Settings

from cvat_lambda.errors import FunctionBusy
from cvat_lambda.functions.spec import FunctionSpec, Kind
from cvat_lambda.gateway.cancel import Cancelled, CancelToken
from cvat_lambda.gateway.concurrency import ConcurrencyLimiter
from cvat_lambda.gateway.gateway import get_gateway
from cvat_lambda.gateway.load_sharing import FunctionLoad, LoadRegistry
from tests.waiting import wait_for


def is_full(limiter: ConcurrencyLimiter, *, interactive: bool = False) -> bool:
    try:
        with limiter.acquire(cancel=CancelToken(), interactive=interactive, timeout_s=0):
            return False
    except FunctionBusy:
        return True


def fill(limiter: ConcurrencyLimiter, stack: ExitStack) -> None:
    for _ in range(limiter.limit):
        stack.enter_context(limiter.acquire(cancel=CancelToken(), timeout_s=0))


def fast(function_id: str, workers: int) -> ConcurrencyLimiter:
    """A limiter that has measured short invocations."""
    limiter = ConcurrencyLimiter(function_id, workers, LoadRegistry())
    limiter.succeeded(0.005)
    return limiter


def test_limit_of_a_fast_function_is_two_above_its_workers() -> None:
    limiter = fast("fn", 2)
    assert limiter.limit == 4
    with ExitStack() as stack:
        fill(limiter, stack)
        assert is_full(limiter)
    assert not is_full(limiter)


def test_limit_does_not_exceed_the_setting(settings: Settings) -> None:
    settings.CVAT_LAMBDA_MAX_IN_FLIGHT = 3
    assert fast("fn", 100).limit == 3


def test_slot_is_reserved_for_an_interactive_call() -> None:
    limiter = fast("fn", 1)
    with ExitStack() as stack:
        fill(limiter, stack)
        assert is_full(limiter)
        with limiter.acquire(cancel=CancelToken(), interactive=True, timeout_s=0):
            assert is_full(limiter, interactive=True)


def test_refusal_lowers_the_limit_once_for_all_invocations_in_flight() -> None:
    limiter = fast("fn", 6)
    with ExitStack() as stack:
        fill(limiter, stack)
        for _ in range(8):
            limiter.refused()
        assert limiter.limit == 6  # 8 x 0.75, not 8 x 0.75^8
        limiter.refused()
        assert limiter.limit == 4


def test_limit_after_many_refusals_is_one() -> None:
    limiter = fast("fn", 1)
    for _ in range(50):
        limiter.refused()
    assert limiter.limit == 1
    assert not is_full(limiter)


def test_limit_after_many_successes_is_the_ceiling() -> None:
    limiter = fast("fn", 4)
    limiter.refused()
    assert limiter.limit == 4
    for _ in range(5):
        limiter.succeeded()
    assert limiter.limit == 5
    for _ in range(50):
        limiter.succeeded()
    assert limiter.limit == limiter.ceiling == 6


def test_acquire_ends_at_once_when_cancelled() -> None:
    limiter = fast("fn", 1)
    cancel = CancelToken()
    ends: list[str] = []
    waiting = threading.Event()

    def wait() -> None:
        waiting.set()
        try:
            with limiter.acquire(cancel=cancel):
                ends.append("in")
        except Cancelled:
            ends.append("abandoned")

    with ExitStack() as stack:
        fill(limiter, stack)
        thread = threading.Thread(target=wait)
        thread.start()
        waiting.wait(180)
        cancel.cancel()
        thread.join(180)
    assert ends == ["abandoned"]


def test_released_slot_is_given_to_a_waiting_call() -> None:
    limiter = fast("fn", 1)
    entered = threading.Event()

    def wait() -> None:
        with limiter.acquire(cancel=CancelToken()):
            entered.set()

    with ExitStack() as stack:
        fill(limiter, stack)
        thread = threading.Thread(target=wait)
        thread.start()
        assert not entered.is_set()
    assert entered.wait(180)
    thread.join(180)


def test_limit_follows_the_number_of_workers() -> None:
    def spec(workers: int) -> FunctionSpec:
        return FunctionSpec(id="resized", kind=Kind.DETECTOR, name="Fn", workers=workers)

    limiter = get_gateway().limiter(spec(1))
    limiter.succeeded(0.005)
    assert limiter.limit == 3
    assert get_gateway().limiter(spec(5)) is limiter
    assert limiter.limit == 7


@pytest.mark.parametrize("interactive", [True, False])
def test_slot_is_released_after_an_error(interactive: bool) -> None:
    limiter = fast("fn", 1)
    for _ in range(10):
        with (
            pytest.raises(ZeroDivisionError),
            limiter.acquire(cancel=CancelToken(), interactive=interactive),
        ):
            raise ZeroDivisionError
    assert not is_full(limiter)


def test_waiting_calls_are_admitted_in_their_order() -> None:
    """Without a queue, threads that called again at once delayed others by half a minute."""
    limiter = fast("fn", 1)
    order: list[int] = []
    with ExitStack() as stack:
        fill(limiter, stack)
        threads = []
        for number in range(8):
            thread = threading.Thread(target=_note, args=(limiter, number, order))
            thread.start()
            threads.append(thread)
            wait_for("the call in the queue", lambda: limiter.waiting, lambda n: n == len(threads))
        assert order == []
        while limiter.limit > 1:  # with a limit of one the order is deterministic
            limiter.refused()
    for thread in threads:
        thread.join(180)
    assert order == list(range(8))


def _note(limiter: ConcurrencyLimiter, number: int, order: list[int]) -> None:
    with limiter.acquire(cancel=CancelToken()):
        order.append(number)


def test_interactive_call_is_admitted_before_earlier_background_calls() -> None:
    limiter = fast("fn", 1)
    order: list[int] = []
    with ExitStack() as stack:
        fill(limiter, stack)
        taken = stack.enter_context(ExitStack())
        taken.enter_context(limiter.acquire(cancel=CancelToken(), interactive=True))
        request = threading.Thread(target=_note, args=(limiter, 1, order))
        request.start()
        wait_for("the background call", lambda: limiter.waiting, lambda found: found == 1)
        person = threading.Thread(target=_note_person, args=(limiter, 2, order))
        person.start()
        wait_for("the interactive call", lambda: limiter.waiting, lambda found: found == 2)
        taken.close()
        person.join(180)
        assert order == [2]
    request.join(180)
    assert order == [2, 1]


def _note_person(limiter: ConcurrencyLimiter, number: int, order: list[int]) -> None:
    with limiter.acquire(cancel=CancelToken(), interactive=True):
        order.append(number)


@pytest.mark.parametrize(
    ("workers", "load", "limit"),
    [
        (2, FunctionLoad(), 4),
        (2, FunctionLoad(runs=2), 2),  # two processes share the limit of one
        (1, FunctionLoad(runs=2, rank=0), 2),
        (1, FunctionLoad(runs=2, rank=1), 1),
        (1, FunctionLoad(runs=2, rank=1, rotation=1), 2),
        (
            2,
            FunctionLoad(interactive=True),
            1,
        ),  # one worker stays free, and no invocation waits at the function
        (1, FunctionLoad(interactive=True), 0),
        (4, FunctionLoad(interactive=True, runs=2, rank=1), 1),
        (2, FunctionLoad(recently_interactive=True), 1),
        (
            1,
            FunctionLoad(recently_interactive=True),
            1,
        ),  # the run continues, and no invocation waits at the function
    ],
)
def test_limit_by_the_load_of_all_processes(workers: int, load: FunctionLoad, limit: int) -> None:
    limiter = fast("fn", workers)
    limiter.follow_load(load)
    assert limiter.limit == limit


@pytest.mark.parametrize(("took_s", "limit"), [(0.005, 4), (0.09, 4), (0.2, 3), (0.7, 2)])
def test_limit_of_a_slow_function_allows_fewer_to_wait(took_s: float, limit: int) -> None:
    limiter = ConcurrencyLimiter("fn", 2, LoadRegistry())
    assert limiter.limit == 2  # the function may be slow
    for _ in range(30):
        limiter.succeeded(took_s)
    assert limiter.limit == limit


def test_time_of_a_function_excludes_the_wait_behind_other_invocations() -> None:
    limiter = fast("fn", 1)
    with ExitStack() as stack:
        fill(limiter, stack)
        for _ in range(30):
            limiter.succeeded(0.24)  # with three in flight each has waited for two others
        assert limiter.limit == 3


def test_time_of_a_function_is_right_when_runs_rotate() -> None:
    """The measured time was a quarter, as if all four runs had an invocation in flight."""
    limiter = ConcurrencyLimiter("fn", 1, LoadRegistry())
    limiter.follow_load(FunctionLoad(runs=4))
    with limiter.acquire(cancel=CancelToken()):
        for _ in range(30):
            limiter.succeeded(0.6)
    limiter.follow_load(FunctionLoad())
    assert limiter.limit == 1


def test_background_call_is_admitted_sometimes_while_interactive_calls_always_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cvat_lambda.gateway.concurrency.MAX_HOLD_BACK_S", 3600.0)
    limiter = fast("fn", 1)
    limiter.follow_load(FunctionLoad(interactive=True))
    assert is_full(limiter)
    monkeypatch.setattr("cvat_lambda.gateway.concurrency.MAX_HOLD_BACK_S", 0.3)
    with limiter.acquire(cancel=CancelToken(), timeout_s=30):
        assert is_full(limiter)


def test_one_of_several_held_back_runs_is_admitted_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Admitted together, they would delay the interactive call for which they were held back."""
    monkeypatch.setattr("cvat_lambda.gateway.concurrency.MAX_HOLD_BACK_S", 0.05)
    limiters = [ConcurrencyLimiter("fn", 1, LoadRegistry()) for _ in range(4)]
    time.sleep(0.25)  # longer than 4 x 0.05
    for rank, limiter in enumerate(limiters):
        limiter.follow_load(FunctionLoad(interactive=True, runs=4, rank=rank))
    assert [is_full(limiter) for limiter in limiters] == [False, True, True, True]


def test_hold_stops_background_calls_but_not_interactive_ones() -> None:
    limiter = fast("fn", 2)
    limiter.hold(3600)
    assert is_full(limiter)
    with limiter.acquire(cancel=CancelToken(), interactive=True, timeout_s=0):
        pass  # an interactive call finds the state of the function itself


def test_background_call_is_admitted_when_the_hold_ends() -> None:
    limiter = fast("fn", 2)
    began = time.monotonic()
    limiter.hold(0.3)
    with limiter.acquire(cancel=CancelToken(), timeout_s=30):
        assert time.monotonic() - began >= 0.3
