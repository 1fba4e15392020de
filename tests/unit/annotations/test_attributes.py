"""Validation of attribute values, by input type."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_lambda.annotations.attributes import check_value
from cvat_lambda.annotations.types import Attribute

AGE = Attribute(name="age", input_type="number", values=("0", "150", "1"))
SHARE = Attribute(name="share", input_type="number", values=("-1", "1", "0.1"))
ODD = Attribute(name="odd", input_type="number", values=("1", "10", "2"))
FLAG = Attribute(name="flag", input_type="checkbox")
COLOR = Attribute(name="color", input_type="select", values=("red", "dark red", "2", "true"))
SIDE = Attribute(name="side", input_type="radio", values=("left", "right"))
NOTE = Attribute(name="note", input_type="text")


@pytest.mark.parametrize(
    ("attribute", "value", "stored"),
    [
        (AGE, 25, "25"),
        (AGE, 25.0, "25"),
        (AGE, "25", "25"),
        (AGE, " 25.0 ", "25"),
        (AGE, 0, "0"),
        (AGE, -0.0, "0"),
        (AGE, 150, "150"),
        (AGE, 151, None),
        (AGE, -1, None),
        (AGE, 25.5, None),  # not on a step of the range
        (AGE, True, None),
        (AGE, "old", None),
        (AGE, None, None),
        (AGE, float("nan"), None),
        (AGE, "Infinity", None),
        pytest.param(AGE, 10**5000, None, id="a number too long for text"),
        (AGE, "1e-999999", "0"),
        (SHARE, 0.1 + 0.2, "0.3"),  # rounding errors of floats are accepted
        (SHARE, -0.7, "-0.7"),
        (SHARE, 0.25, None),
        (SHARE, 1.0000000001, "1"),
        (SHARE, 1.1, None),
        (ODD, 3, "3"),  # steps start at the minimum
        (ODD, 4, None),
        (ODD, 10, None),  # within the limits, but not on a step
        (FLAG, True, "true"),
        (FLAG, False, "false"),
        (FLAG, "false", "false"),
        (FLAG, "True", "true"),
        (FLAG, "yes", None),
        (FLAG, 1, None),
        (COLOR, "red", "red"),
        (COLOR, "dark", None),  # a part of a value is not a value
        (COLOR, "red\ndark red", None),
        (COLOR, "", None),
        (COLOR, "Red", None),
        (COLOR, 2, "2"),
        (COLOR, True, "true"),
        (COLOR, ["red"], None),
        (SIDE, "left", "left"),
        (SIDE, "lef", None),
        (NOTE, "anything", "anything"),
        (NOTE, "", ""),
        (NOTE, 5, "5"),
        pytest.param(NOTE, "x" * 4096, "x" * 4096, id="the longest text"),
        pytest.param(NOTE, "x" * 4097, None, id="a text too long"),
        pytest.param(NOTE, "a\x00b", None, id="a NUL"),
        pytest.param(NOTE, "\ud800", None, id="half a surrogate pair"),
        (NOTE, {"a": 1}, None),
    ],
)
def test_value_is_converted_or_refused(attribute: Attribute, value: object, stored: object) -> None:
    assert check_value(attribute, value) == stored


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("0", "1"),
        ("a", "b", "c"),
        ("5", "1", "1"),
        ("0", "9", "0"),
        ("0", "9", f"9.{'9' * 40}e999999"),  # a step that decimals cannot add to anything
    ],
)
def test_number_attribute_without_valid_limits_refuses_every_value(values: tuple[str, ...]) -> None:
    assert check_value(Attribute(name="n", input_type="number", values=values), 1) is None


@given(
    low=st.integers(-1000, 1000),
    count=st.integers(0, 500),
    hundredths=st.integers(1, 500),
    number=st.floats(-2000, 2000) | st.integers(-2000, 2000),
)
def test_accepted_number_is_on_a_step_within_the_limits(
    low: int, count: int, hundredths: int, number: float
) -> None:
    step = Decimal(hundredths) / 100
    high = low + count * step
    attribute = Attribute(name="n", input_type="number", values=(str(low), str(high), str(step)))
    stored = check_value(attribute, number)
    if stored is not None:
        assert low <= Decimal(stored) <= high
        assert (Decimal(stored) - low) % step == 0
        assert abs(Decimal(stored) - Decimal(str(number))) <= step * Decimal("1e-6")
        assert check_value(attribute, stored) == stored


@given(
    low=st.integers(-1000, 1000),
    count=st.integers(0, 500),
    hundredths=st.integers(1, 500),
    data=st.data(),
)
def test_every_step_of_the_range_is_accepted(
    low: int, count: int, hundredths: int, data: st.DataObject
) -> None:
    step = Decimal(hundredths) / 100
    attribute = Attribute(
        name="n", input_type="number", values=(str(low), str(low + count * step), str(step))
    )
    number = low + data.draw(st.integers(0, count)) * step
    stored = check_value(attribute, float(number))
    assert stored is not None
    assert Decimal(stored) == number


@given(
    st.sampled_from([AGE, SHARE, FLAG, COLOR, SIDE, NOTE]),
    st.text() | st.integers() | st.floats() | st.none() | st.lists(st.text()),
)
def test_check_value_raises_no_error_for_any_json_value(
    attribute: Attribute, value: object
) -> None:
    stored = check_value(attribute, value)
    assert stored is None or isinstance(stored, str)
