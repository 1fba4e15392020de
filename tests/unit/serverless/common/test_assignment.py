from __future__ import annotations

from itertools import permutations

import numpy as np
from common.assignment import assign
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

COSTS = st.tuples(st.integers(0, 6), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(-20, 20))
)


def least(costs: np.ndarray) -> float:
    """Return the lowest total of all possible assignments."""
    small = costs if costs.shape[0] <= costs.shape[1] else costs.T
    rows = range(small.shape[0])
    return min(
        sum(float(small[row, column]) for row, column in zip(rows, chosen, strict=True))
        for chosen in permutations(range(small.shape[1]), small.shape[0])
    )


@given(COSTS)
def test_assignment_has_the_lowest_total(costs: np.ndarray) -> None:
    found = assign(costs)
    paired = [(row, column) for row, column in enumerate(found) if column >= 0]
    assert len(found) == costs.shape[0]
    assert len(paired) == min(costs.shape)
    assert len({column for _, column in paired}) == len(paired)
    assert sum(costs[pair] for pair in paired) == least(costs)


def test_assignment_minimizes_the_total_and_not_the_nearest_pair() -> None:
    assert assign(np.array([[1.0, 2.0], [1.0, 9.0]])) == [1, 0]


def test_no_boxes_give_no_pairs() -> None:
    assert assign(np.zeros((0, 3))) == []
    assert assign(np.zeros((3, 0))) == [-1, -1, -1]
