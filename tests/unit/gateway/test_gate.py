"""The gate: places, people first, fewer after a refusal, one more after a round that went well."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import Any

import pytest

from cvat_lambda.errors import FunctionBusy
from cvat_lambda.functions.spec import FunctionSpec, Kind
from cvat_lambda.gateway.cancel import CallAbandoned, Cancel
from cvat_lambda.gateway.concurrency import Gate, gate_of
from cvat_lambda.gateway.load_sharing import Crowd


def is_full(gate: Gate, *, person: bool = False) -> bool:
    try:
        with gate.place(cancel=Cancel(), person=person, timeout_s=0):
            return False
    except FunctionBusy:
        return True


def fill(gate: Gate, stack: ExitStack) -> None:
    for _ in range(gate.limit):
        stack.enter_context(gate.place(cancel=Cancel(), timeout_s=0))


def fast(function_id: str, workers: int) -> Gate:
    """The gate of a function that is known to answer quickly."""
    gate = Gate(function_id, workers)
    gate.succeeded(0.005)
    gate._answers_until_lowering = 0
    return gate


def test_two_more_than_the_workers_are_let_in() -> None:
    gate = fast("fn", 2)
    assert gate.limit == 4
    with ExitStack() as stack:
        fill(gate, stack)
        assert is_full(gate)
    assert not is_full(gate)


def test_the_setting_bounds_the_places(settings: Any) -> None:
    settings.CVAT_LAMBDA_MAX_IN_FLIGHT = 3
    assert fast("fn", 100).limit == 3


def test_a_person_has_a_place_that_requests_cannot_take() -> None:
    gate = fast("fn", 1)
    with ExitStack() as stack:
        fill(gate, stack)
        assert is_full(gate)
        with gate.place(cancel=Cancel(), person=True, timeout_s=0):
            assert is_full(gate, person=True)


def test_a_refusal_lowers_the_limit_once_for_all_that_were_on_their_way() -> None:
    gate = fast("fn", 6)
    with ExitStack() as stack:
        fill(gate, stack)
        for _ in range(8):
            gate.refused()
        assert gate.limit == 6  # 8 x 0.75, not 8 x 0.75^8
        gate.refused()
        assert gate.limit == 4


def test_the_limit_never_falls_below_one() -> None:
    gate = fast("fn", 1)
    for _ in range(50):
        gate.refused()
    assert gate.limit == 1
    assert not is_full(gate)


def test_rounds_that_went_well_raise_the_limit_to_the_ceiling_and_not_beyond() -> None:
    gate = fast("fn", 4)
    gate.refused()
    assert gate.limit == 4
    for _ in range(5):
        gate.succeeded()
    assert gate.limit == 5
    for _ in range(50):
        gate.succeeded()
    assert gate.limit == gate.ceiling == 6


def test_waiting_for_a_place_ends_at_once_when_abandoned() -> None:
    gate = fast("fn", 1)
    cancel = Cancel()
    ends: list[str] = []
    waiting = threading.Event()

    def wait() -> None:
        waiting.set()
        try:
            with gate.place(cancel=cancel):
                ends.append("in")
        except CallAbandoned:
            ends.append("abandoned")

    with ExitStack() as stack:
        fill(gate, stack)
        thread = threading.Thread(target=wait)
        thread.start()
        waiting.wait(10)
        cancel.cancel()
        thread.join(10)
    assert ends == ["abandoned"]


def test_a_place_that_is_left_goes_to_who_waits() -> None:
    gate = fast("fn", 1)
    entered = threading.Event()

    def wait() -> None:
        with gate.place(cancel=Cancel()):
            entered.set()

    with ExitStack() as stack:
        fill(gate, stack)
        thread = threading.Thread(target=wait)
        thread.start()
        assert not entered.is_set()
    assert entered.wait(10)
    thread.join(10)


def test_a_gate_follows_its_functions_workers() -> None:
    def spec(workers: int) -> FunctionSpec:
        return FunctionSpec(id="resized", kind=Kind.DETECTOR, name="Fn", workers=workers)

    gate = gate_of(spec(1))
    gate.succeeded(0.005)
    assert gate.limit == 3
    assert gate_of(spec(5)) is gate
    assert gate.limit == 7


@pytest.mark.parametrize("person", [True, False])
def test_an_error_inside_gives_the_place_back(person: bool) -> None:
    gate = fast("fn", 1)
    for _ in range(10):
        with pytest.raises(ZeroDivisionError), gate.place(cancel=Cancel(), person=person):
            raise ZeroDivisionError
    assert not is_full(gate)


def test_who_comes_first_goes_first() -> None:
    """Without an order, threads that come back at once kept others waiting for half a minute."""
    gate = fast("fn", 1)
    order: list[int] = []
    with ExitStack() as stack:
        fill(gate, stack)
        threads = []
        for number in range(8):
            thread = threading.Thread(target=_note, args=(gate, number, order))
            thread.start()
            threads.append(thread)
            while len(gate._requests) <= number:  # it is in the queue
                thread.join(0.001)
        assert order == []
        gate._limit = 1.0  # one at a time, so that the order can be seen
    for thread in threads:
        thread.join(10)
    assert order == list(range(8))


def _note(gate: Gate, number: int, order: list[int]) -> None:
    with gate.place(cancel=Cancel()):
        order.append(number)


def test_a_person_goes_before_requests_that_came_earlier() -> None:
    gate = fast("fn", 1)
    order: list[int] = []
    with ExitStack() as stack:
        fill(gate, stack)
        taken = stack.enter_context(ExitStack())
        taken.enter_context(gate.place(cancel=Cancel(), person=True))
        request = threading.Thread(target=_note, args=(gate, 1, order))
        request.start()
        while not gate._requests:
            request.join(0.001)
        person = threading.Thread(target=_note_person, args=(gate, 2, order))
        person.start()
        while not gate._people:
            person.join(0.001)
        taken.close()
        person.join(10)
        assert order == [2]
    request.join(10)
    assert order == [2, 1]


def _note_person(gate: Gate, number: int, order: list[int]) -> None:
    with gate.place(cancel=Cancel(), person=True):
        order.append(number)


@pytest.mark.parametrize(
    ("workers", "crowd", "limit"),
    [
        (2, Crowd(), 4),
        (2, Crowd(runs=2), 2),  # two processes have what one had
        (1, Crowd(runs=2, rank=0), 2),
        (1, Crowd(runs=2, rank=1), 1),
        (1, Crowd(runs=2, rank=1, turn=1), 2),
        (2, Crowd(people=True), 1),  # one worker is left free, nobody is at the door
        (1, Crowd(people=True), 0),
        (4, Crowd(people=True, runs=2, rank=1), 1),
        (2, Crowd(lately=True), 1),
        (1, Crowd(lately=True), 1),  # it goes on, with nobody at the door
    ],
)
def test_runs_share_the_places_and_leave_some_to_people(
    workers: int, crowd: Crowd, limit: int
) -> None:
    gate = fast("fn", workers)
    gate._follow(crowd)
    assert gate.limit == limit


@pytest.mark.parametrize(("took_s", "limit"), [(0.005, 4), (0.09, 4), (0.2, 3), (0.7, 2)])
def test_the_slower_a_function_the_fewer_wait_at_its_door(took_s: float, limit: int) -> None:
    gate = Gate("fn", 2)
    assert gate.limit == 2  # it may be slow
    for _ in range(30):
        gate.succeeded(took_s)
    assert gate.limit == limit


def test_the_wait_at_the_door_does_not_count_as_the_functions_time() -> None:
    gate = fast("fn", 1)
    with ExitStack() as stack:
        fill(gate, stack)
        for _ in range(30):
            gate.succeeded(0.24)  # three are there, so each has waited for two others
        assert gate.limit == 3


def test_runs_that_take_turns_do_not_take_a_slow_function_for_a_fast_one() -> None:
    """A quarter of the time was believed, as if all four had a call in flight."""
    gate = Gate("fn", 1)
    gate._follow(Crowd(runs=4))
    with gate.place(cancel=Cancel()):
        for _ in range(30):
            gate.succeeded(0.6)
    gate._follow(Crowd())
    assert gate.limit == 1


def test_a_batch_is_let_in_now_and_then_although_somebody_always_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cvat_lambda.gateway.concurrency.HELD_BACK_S", 3600.0)
    gate = fast("fn", 1)
    gate._follow(Crowd(people=True))
    assert is_full(gate)
    monkeypatch.setattr("cvat_lambda.gateway.concurrency.HELD_BACK_S", 0.3)
    with gate.place(cancel=Cancel(), timeout_s=30):
        assert is_full(gate)


def test_of_the_runs_that_are_held_back_one_at_a_time_is_let_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All of them at once would be a queue in front of the person for whom they were held."""
    monkeypatch.setattr("cvat_lambda.gateway.concurrency.HELD_BACK_S", 0.05)
    gates = [Gate("fn", 1) for _ in range(4)]
    time.sleep(0.25)  # longer than 4 x 0.05
    for rank, gate in enumerate(gates):
        gate._follow(Crowd(people=True, runs=4, rank=rank))
    assert [is_full(gate) for gate in gates] == [False, True, True, True]


def test_a_function_that_says_when_to_come_back_is_left_alone_until_then() -> None:
    gate = fast("fn", 2)
    gate.hold(3600)
    assert is_full(gate)
    with gate.place(cancel=Cancel(), person=True, timeout_s=0):
        pass  # people find out for themselves


def test_a_function_that_said_when_to_come_back_is_called_again_then() -> None:
    gate = fast("fn", 2)
    began = time.monotonic()
    gate.hold(0.3)
    with gate.place(cancel=Cancel(), timeout_s=30):
        assert time.monotonic() - began >= 0.3
