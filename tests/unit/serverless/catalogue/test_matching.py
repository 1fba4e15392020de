"""Matching of the boxes of two frames: possible pairs, and selected pairs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "serverless"))

from common.matching import (
    assign_pairs,
    cosine_distances,
    distances_where_possible,
    possible_pairs,
)

_COSTS = st.integers(1, 4).flatmap(
    lambda rows: st.integers(1, 4).flatmap(
        lambda columns: st.lists(
            st.lists(st.integers(0, 9), min_size=columns, max_size=columns),
            min_size=rows,
            max_size=rows,
        )
    )
)


@settings(deadline=None)
@given(_COSTS, st.data())
def test_a_match_is_always_possible_and_near_enough(
    values: list[list[int]], data: st.DataObject
) -> None:
    distances = np.array(values, dtype=np.float64)
    flags = data.draw(st.lists(st.booleans(), min_size=distances.size, max_size=distances.size))
    possible = np.array(flags).reshape(distances.shape)
    matched = assign_pairs(distances, possible, threshold=5)
    for row, column in enumerate(matched):
        assert column == -1 or (possible[row, column] and distances[row, column] <= 5)


def test_more_pairs_are_preferred_to_shorter_distances() -> None:
    distances = np.array([[0.1, 0.4], [0.2, 9.0]])
    possible = np.ones((2, 2), dtype=bool)
    assert assign_pairs(distances, possible, threshold=0.5) == [1, 0]


def test_infinite_distances_of_impossible_pairs_are_ignored() -> None:
    distances = np.array([[np.inf, 0.1], [np.inf, np.inf]])
    assert assign_pairs(distances, np.isfinite(distances), threshold=0.5) == [1, -1]


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [
        ([1.0, 0.0], [2.0, 0.0], 0.0),
        ([1.0, 0.0], [0.0, 3.0], 1.0),
        ([1.0, 0.0], [-5.0, 0.0], 2.0),
        ([0.0, 0.0], [1.0, 0.0], 1.0),  # a zero vector must not give NaN
    ],
)
def test_cosine_distance_of_two_vectors_is_computed(
    first: list[float], second: list[float], distance: float
) -> None:
    [[value]] = cosine_distances(np.array([first]), np.array([second]))
    assert value == pytest.approx(distance)


def test_only_boxes_with_a_possible_partner_are_embedded_each_once() -> None:
    vectors0 = np.array([[1.0, 0.0], [9.0, 9.0], [0.0, 2.0]])
    vectors1 = np.array([[9.0, 9.0], [3.0, 0.0]])
    described: list[list[int]] = []

    def describe(vectors: np.ndarray, numbers: list[int]) -> np.ndarray:
        described.append(numbers)
        return np.asarray(vectors[numbers])

    possible = np.array([[False, True], [False, False], [False, True]])
    distances = distances_where_possible(
        possible,
        lambda rows: describe(vectors0, rows),
        lambda columns: describe(vectors1, columns),
    )
    assert described == [[0, 2], [1]]
    assert distances.tolist() == [[np.inf, 0.0], [np.inf, np.inf], [np.inf, 1.0]]


@pytest.mark.parametrize("shape", [(0, 0), (0, 2), (2, 0), (2, 2)])
def test_without_possible_pairs_nothing_is_embedded(shape: tuple[int, int]) -> None:
    def refuse(numbers: list[int]) -> np.ndarray:
        raise AssertionError(f"{numbers} are described")

    distances = distances_where_possible(np.zeros(shape, dtype=bool), refuse, refuse)
    assert distances.shape == shape
    assert assign_pairs(distances, np.zeros(shape, dtype=bool), threshold=1) == [-1] * shape[0]


def test_possible_pairs_have_equal_labels_and_near_centres() -> None:
    boxes0 = [{"points": [0, 0, 10, 10], "label_id": 1}]
    boxes1 = [
        {"points": [3, 4, 13, 14], "label_id": 1},  # 5 pixels away
        {"points": [3, 4, 13, 14], "label_id": 2},
        {"points": [30, 0, 40, 10], "label_id": 1},
    ]
    assert possible_pairs(boxes0, boxes1, max_distance=5).tolist() == [[True, False, False]]
    assert possible_pairs([], boxes1, max_distance=5).shape == (0, 3)
