"""Operations on ranges of frames equal those on sets of frames."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from cvat_lambda.requests.store import ranges

frames = st.sets(st.integers(0, 60), max_size=40)


def as_set(found: ranges.Ranges) -> set[int]:
    """Return the set of frames, after a check that the ranges are ascending and disjoint."""
    for (_, last), (first, _) in itertools.pairwise(found):
        assert last + 1 < first
    return set(ranges.expand(found))


@given(frames)
def test_compress_and_expand_are_inverse(one: set[int]) -> None:
    assert as_set(ranges.compress(one)) == one
    assert ranges.count(ranges.compress(one)) == len(one)


@given(frames, frames)
def test_intersection_and_difference_are_those_of_sets(one: set[int], two: set[int]) -> None:
    left, right = ranges.compress(one), ranges.compress(two)
    assert as_set(ranges.intersect(left, right)) == one & two
    assert as_set(ranges.subtract(left, right)) == one - two
    assert as_set(ranges.normalize((*right, *left))) == one | two


@given(frames, st.integers(0, 50))
def test_split_has_all_frames_in_parts_of_equal_size(one: set[int], size: int) -> None:
    pieces = ranges.split(ranges.compress(one), size)
    assert [frame for piece in pieces for frame in ranges.expand(piece)] == sorted(one)
    lengths = [ranges.count(piece) for piece in pieces]
    assert all(length > 0 for length in lengths)
    if size:
        assert max(lengths, default=0) <= size
        assert max(lengths, default=0) - min(lengths, default=0) <= 1


def test_compress_of_a_long_range_does_not_iterate_over_its_frames() -> None:
    assert ranges.compress(range(3, 10**12)) == ((3, 10**12 - 1),)
    assert ranges.compress(range(0)) == ()
    assert ranges.compress(range(0, 10, 5)) == ((0, 0), (5, 5))
