"""Quantiles that are estimated from the buckets of a histogram."""

from __future__ import annotations

import pytest

from cvat_lambda.observability.invocation_times import percentile, quantile

INFINITE = float("inf")
BUCKETS = [(0.1, 10.0), (0.2, 20.0), (INFINITE, 20.0)]


@pytest.mark.parametrize(
    ("buckets", "share", "expected"),
    [
        (BUCKETS, 0.5, 0.1),
        (BUCKETS, 0.75, 0.15),
        (BUCKETS, 1.0, 0.2),
        ([(0.1, 0.0), (INFINITE, 4.0)], 0.5, None),  # above the last bound
        ([(0.1, 0.0), (INFINITE, 0.0)], 0.5, None),  # no values
        ([], 0.5, None),
    ],
)
def test_quantile_is_interpolated_within_its_bucket(
    buckets: list[tuple[float, float]], share: float, expected: float | None
) -> None:
    found = quantile(buckets, share)
    assert found == (None if expected is None else pytest.approx(expected))


def test_percentile_of_a_list_is_one_of_its_values() -> None:
    assert percentile([5, 1, 3], 0.5) == 3
    assert percentile([5, 1, 3], 0.95) == 5
    assert percentile([], 0.5) is None
