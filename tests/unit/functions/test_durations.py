from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_lambda.functions.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30.0),
        ("1m30s", 90.0),
        ("1h15m30.5s", 4530.5),
        ("500ms", 0.5),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("2µs", 2e-6),
        ("0", 0.0),
        ("-1.5s", -1.5),
        ("+3s", 3.0),
        ("30000s", 30000.0),  # of one of CVAT's functions
    ],
)
def test_duration_is_parsed_as_in_go(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "-", "s", "3", "3 s", "1m 3s", "1d", "1e3s", "9999999999h"])
def test_duration_that_go_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@given(st.text(alphabet="0123456789.hmsuµn+-", max_size=12))
def test_any_text_gives_finite_seconds_or_valueerror(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert math.isfinite(parse_duration(text))


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1s"), (60, "60s"), (60.01, "61s")])
def test_time_limit_is_formatted_in_whole_seconds_rounded_up(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
