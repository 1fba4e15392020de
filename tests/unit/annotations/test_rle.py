"""Masks as run lengths: encoding, decoding and invalid input."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_lambda.annotations import rle
from cvat_lambda.annotations.errors import ShapeError
from cvat_lambda.annotations.placement import Bitmap


@st.composite
def bitmaps(draw: st.DrawFn, most: int = 24) -> Bitmap:
    width, height = draw(st.integers(1, most)), draw(st.integers(1, most))
    seed, share = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
    return np.random.default_rng(seed).random((height, width)) < share


def test_the_first_run_counts_zeros() -> None:
    bitmap = np.array([[0, 1, 1], [1, 0, 0]], dtype=bool)
    assert rle.encode(bitmap, 10, 20) == (1, 3, 2, 10, 20, 12, 21)


def test_mask_that_starts_with_a_one_has_a_first_run_of_length_zero() -> None:
    assert rle.encode(np.ones((2, 2), dtype=bool), 0, 0) == (0, 4, 0, 0, 1, 1)


@given(bitmaps(), st.integers(-50, 50), st.integers(-50, 50))
def test_decoded_mask_equals_the_encoded_one(bitmap: Bitmap, left: int, top: int) -> None:
    points = rle.encode(bitmap, left, top)
    decoded, x, y = rle.decode([float(value) for value in points])  # the database stores floats
    assert (x, y) == (left, top)
    assert np.array_equal(decoded, bitmap)
    assert rle.check(points) == points


@given(bitmaps(), st.sampled_from([1, 255, 0.5, True, 300, -1]))
def test_raw_mask_of_any_two_values_has_the_runs_of_its_bitmap(bitmap: Bitmap, one: object) -> None:
    height, width = bitmap.shape
    pixels = [one if value else 0 for value in bitmap.ravel()]
    raw = [*pixels, 3, 4, 3 + width - 1, 4 + height - 1]
    assert rle.from_raw(raw) == rle.encode(bitmap, 3, 4)


def test_raw_mask_of_many_values_has_runs_of_zero_and_nonzero_only() -> None:
    # With a run for each change of value the second half would be inverted.
    assert rle.from_raw([0, 128, 255, 0, 0, 0, 3, 0]) == (1, 2, 1, 0, 0, 3, 0)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ([], "the pixels of its box"),
        ([1, 1, 0, 0, 0, 0], "has 2 pixels, but its box [0, 0, 0, 0] has 1"),
        ([1, 2, 0, 0, 0], "must be [left, top, right, bottom]"),
        ([1, 0, 0, 0.5, 0], "whole pixels"),
        (["1", 0, 0, 0, 0], "numbers"),
        ([None, 0, 0, 0, 0], "numbers"),
        ([[1], 0, 0, 0, 0], "numbers"),
        ([float("nan"), 0, 0, 0, 0], "finite"),
        ([10**400, 0, 0, 0, 0], "numbers"),
        ([1, 0, 0, float("inf"), 0], "finite"),
        ([1, 0, 0, 10**9, 10**9], "too large"),
    ],
)
def test_invalid_raw_mask_is_refused(raw: list[Any], sentence: str) -> None:
    with pytest.raises(ShapeError) as error:
        rle.from_raw(raw)
    assert sentence in error.value.message


@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        ([0, 0, 0, 0], "run lengths and then"),
        ([0, 3, 0, 0, 1, 1], "add up to 3, but the box [0, 0, 1, 1] has 4 pixels"),
        ([5, -1, 0, 0, 1, 1], "zero or more"),
        ([0.5, 3.5, 0, 0, 1, 1], "whole numbers"),
        ([0, 10**18, 0, 0, 10**9, 10**9 - 1], "too large"),
        (["a", 0, 0, 0, 0, 0], "numbers"),
    ],
)
def test_invalid_run_lengths_are_refused(points: list[Any], sentence: str) -> None:
    with pytest.raises(ShapeError) as error:
        rle.check(points)
    assert sentence in error.value.message


@given(
    bitmaps(), st.integers(-30, 30), st.integers(-30, 30), st.integers(1, 30), st.integers(1, 30)
)
def test_clipping_keeps_exactly_the_pixels_inside(
    bitmap: Bitmap, left: int, top: int, width: int, height: int
) -> None:
    canvas = np.zeros((120, 120), dtype=bool)
    canvas[40 + top : 40 + top + bitmap.shape[0], 40 + left : 40 + left + bitmap.shape[1]] = bitmap
    inside = canvas[40 : 40 + height, 40 : 40 + width]
    clipped = rle.clip(rle.encode(bitmap, left, top), width, height)
    if clipped is None:
        assert not inside.any()
    else:
        part, x, y = rle.decode(clipped)
        redrawn = np.zeros_like(inside)
        redrawn[y : y + part.shape[0], x : x + part.shape[1]] = part
        assert np.array_equal(redrawn, inside)


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=60),
    st.integers(1, 40),
    st.integers(-30, 20),
    st.integers(-30, 20),
)
def test_decode_inside_equals_the_decoded_mask_inside_the_image(
    runs: list[int], across: int, left: int, top: int
) -> None:
    """Also for runs of length zero and runs over several rows, which `encode` does not write."""
    runs.append(-sum(runs) % across or (0 if sum(runs) else across))
    box = (left, top, left + across - 1, top + sum(runs) // across - 1)
    whole, _, _ = rle.decode((*runs, *box))
    canvas = np.zeros((900, 200), dtype=bool)
    canvas[100 + top : 100 + top + whole.shape[0], 100 + left : 100 + left + across] = whole
    inside = canvas[100:125, 100:117]
    found = rle.decode_inside((*runs, *box), 17, 25)
    if found is None:
        assert not inside.any()
    else:
        part, x, y = found
        redrawn = np.zeros_like(inside)
        redrawn[y : y + part.shape[0], x : x + part.shape[1]] = part
        assert np.array_equal(redrawn, inside)


def test_memory_of_decode_inside_depends_on_the_part_inside_the_image() -> None:
    tracemalloc.start()
    found = rle.decode_inside((1, (1 << 28) - 1, -8192, -8192, 8191, 8191), 64, 48)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found is not None
    assert found[0].all()
    assert peak < 1 << 20


@given(bitmaps())
def test_trimming_leaves_no_empty_border(bitmap: Bitmap) -> None:
    trimmed = rle.trim(bitmap, 5, 6)
    if trimmed is None:
        assert not bitmap.any()
        return
    part, left, top = trimmed
    assert part.sum() == bitmap.sum()
    assert part[0].any()
    assert part[-1].any()
    assert part[:, 0].any()
    assert part[:, -1].any()
    y0, x0 = top - 6, left - 5
    assert np.array_equal(bitmap[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]], part)


def test_shift_changes_the_box_only() -> None:
    assert rle.shift((1, 3, 2, 10, 20, 12, 21), 5, -20) == (1, 3, 2, 15, 0, 17, 1)


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        ((300, 210, 320, 240), (300, 210, 319, 239)),  # at the right and lower border
        ((300, 10, 320, 20), (300, 10, 319, 20)),
        ((-2, -3, 4, 5), (0, 0, 4, 5)),
        ((-2, -3, 400, 300), (0, 0, 319, 239)),
    ],
)
def test_mask_with_clipped_pixels_and_an_unclipped_box_gets_the_clipped_box(
    box: tuple[int, ...], inside: tuple[int, ...]
) -> None:
    """Functions crop by ``mask[top : bottom + 1, left : right + 1]``, ending at the border."""
    left, top, right, bottom = inside
    count = (right - left + 1) * (bottom - top + 1)
    size = (320, 240)
    assert rle.from_raw([1] * count + list(box), image_size=size) == (0, count, *inside)
    assert rle.check([0, count, *box], image_size=size) == (0, count, *inside)
    assert rle.decode([0, count, *box], image_size=size)[0].all()


@pytest.mark.parametrize("size", [None, (320, 240)])
def test_mask_of_another_count_than_its_box_is_refused(size: tuple[int, int] | None) -> None:
    with pytest.raises(ShapeError, match="has 599 pixels, but its box"):
        rle.from_raw([1] * 599 + [300, 210, 320, 240], image_size=size)
    with pytest.raises(ShapeError, match="add up to 599"):
        rle.check([0, 599, 300, 210, 320, 240], image_size=size)


@given(st.lists(st.integers(-5, 50) | st.floats() | st.text(max_size=2) | st.none(), max_size=12))
def test_any_list_is_accepted_as_valid_run_lengths_or_refused(points: list[Any]) -> None:
    for read in (rle.check, rle.from_raw):
        with suppress(ShapeError):
            read_points = read(points)
            assert rle.check(read_points) == read_points


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,)])
def test_bitmap_without_rows_or_columns_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="at least one row and one column"):
        rle.encode(np.zeros(shape, dtype=np.bool_), 0, 0)
