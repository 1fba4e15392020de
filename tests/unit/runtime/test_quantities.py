from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_lambda.runtime.spec.quantities import format_bytes, parse_duration, parse_quantity


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("1m30s", 90),
        ("1h", 3600),
        ("500ms", 0.5),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("100us", 1e-4),
        ("0", 0),  # the only duration without a unit
        ("-2s", -2),
        ("30000s", 30000),  # one of CVAT's functions has this value
    ],
)
def test_duration_is_parsed_as_in_go(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "10", "s", "1 s", "1s ", "ten", "1d", "1s2", "-", "1..5s"])
def test_invalid_duration_is_refused_with_a_message(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_duration_of_centuries_and_memory_of_exbibytes_are_refused() -> None:
    with pytest.raises(ValueError, match="is longer than a duration can be"):
        parse_duration("99999999h")
    with pytest.raises(ValueError, match="is more memory than there can be"):
        parse_quantity("99999999999Gi")


@given(st.integers(0, 10_000), st.integers(0, 59), st.integers(0, 59))
def test_parts_of_a_duration_are_summed(hours: int, minutes: int, seconds: int) -> None:
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == pytest.approx(
        hours * 3600 + minutes * 60 + seconds
    )


@pytest.mark.parametrize(
    ("text", "amount"),
    [("4Gi", 4 * 2**30), ("512Mi", 2**29), ("1.5Gi", 3 * 2**29), ("2G", 2 * 10**9), ("100", 100)],
)
def test_quantity_is_parsed_as_in_kubernetes(text: str, amount: int) -> None:
    assert parse_quantity(text) == amount


@pytest.mark.parametrize("text", ["", "lots", "4GiB", "-1Gi", "1 Gi x"])
def test_invalid_quantity_is_refused_with_a_message(text: str) -> None:
    with pytest.raises(ValueError, match="is not an amount of memory"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (5 * 2**40, "5120.0 GiB")],
)
def test_amount_is_formatted_with_the_largest_unit(amount: int, text: str) -> None:
    assert format_bytes(amount) == text
