"""Signed tracker states, which the client keeps."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.errors import InvalidTrackerState
from cvat_lambda.interactive import tracker_state
from cvat_lambda.interactive.tracker_state import SeenShape, StateSigner, TrackerState

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def signer(function_id: str = "siam", user_id: int = 1, task_id: int = 5) -> StateSigner:
    return StateSigner(function_id=function_id, user_id=user_id, task_id=task_id)


@given(JSON)
def test_signed_state_is_opened_to_an_equal_value(state: object) -> None:
    signed = signer().sign(state, revision="r1")
    expected = None if state is None else TrackerState(value=state, revision="r1")
    assert signer().open(signed) == expected


def test_signed_state_keeps_the_last_known_shape_of_its_object() -> None:
    seen = SeenShape(frame=7, type="rectangle", points=(1.0, 2.0, 3.0, 4.5))
    signed = signer().sign({"handle": "h1"}, revision="r1", seen=seen)
    assert signer().open(signed) == TrackerState(value={"handle": "h1"}, revision="r1", seen=seen)


def test_missing_state_is_signed_and_opened_as_none() -> None:
    assert (signer().sign(None, revision="r1"), signer().open(None)) == (None, None)
    assert signer().open_all([None]) == [None]


@pytest.mark.parametrize(
    "other",
    [
        signer(function_id="siam2"),
        signer(user_id=2),  # another user
        signer(task_id=6),
        signer(user_id=15, task_id=5),
    ],
)
def test_a_state_of_another_owner_is_refused(other: StateSigner) -> None:
    signed = other.sign({"box": [1, 2]}, revision="r1")
    with pytest.raises(InvalidTrackerState, match="Start the track again"):
        signer().open(signed)


def test_state_of_a_user_and_task_with_the_same_joined_digits_is_refused() -> None:
    signed = signer(user_id=11, task_id=1).sign(1, revision="r1")
    with pytest.raises(InvalidTrackerState):
        signer(user_id=1, task_id=11).open(signed)


@given(st.text())
def test_text_that_was_never_signed_is_refused(text: str) -> None:
    with pytest.raises(InvalidTrackerState):
        signer().open(text)


@pytest.mark.parametrize("position", [0, 3, -1])
def test_a_state_that_was_tampered_with_is_refused(position: int) -> None:
    signed = list(signer().sign({"box": [1, 2]}, revision="r1") or "")
    signed[position] = "x" if signed[position] != "x" else "y"
    with pytest.raises(InvalidTrackerState):
        signer().open("".join(signed))


def test_state_older_than_the_limit_is_refused_with_its_age(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    signed = signer().sign(1, revision="r1")
    later = time.time() + 8 * 3600 + 1
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(InvalidTrackerState, match="older than 8 hours"):
        signer().open(signed)
    settings.CVAT_LAMBDA_TRACKER_STATE_MAX_AGE_S = 9 * 3600
    assert signer().open(signed) == TrackerState(value=1, revision="r1")


def test_state_that_is_not_json_raises_an_answer_error() -> None:
    with pytest.raises(AnswerError, match="not finite") as error:
        signer().sign({"score": float("inf")}, revision="r1", item=3)
    assert (error.value.item, error.value.field) == (3, "states")


def test_state_that_is_nested_too_deeply_raises_an_answer_error() -> None:
    state: list[Any] = []
    for _ in range(100_000):
        state = [state]
    with pytest.raises(AnswerError, match="nested too deeply") as error:
        signer().sign(state, revision="r1", item=0)
    assert (error.value.item, error.value.field) == (0, "states")


def test_state_that_is_too_large_raises_an_answer_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracker_state, "MAX_STATE_BYTES", 100)
    with pytest.raises(AnswerError, match="114 bytes"):
        signer().sign("x" * 100, revision="r1")
    with pytest.raises(InvalidTrackerState, match="too large"):
        signer().open("x" * 201)
