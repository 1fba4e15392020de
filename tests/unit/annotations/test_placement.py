"""Points and masks of an image that was cropped from a frame and resized."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_lambda.annotations.placement import WHOLE_FRAME, Placement

SCALED = Placement(scale=(0.5, 0.25), offset=(100, 200), size=(40, 30))


def test_points_of_the_frame_become_points_of_the_image() -> None:
    assert SCALED.to_image([110, 220, 130, 240]) == [5, 5, 15, 10]


def test_points_of_the_image_become_points_of_the_frame() -> None:
    assert SCALED.to_frame([5, 5, 15, 10]) == (110, 220, 130, 240)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=8))
def test_points_converted_to_the_image_and_back_are_the_same(points: list[float]) -> None:
    points = points[: len(points) // 2 * 2]
    assert SCALED.to_frame(SCALED.to_image(points)) == pytest.approx(tuple(points), abs=1e-6)


def test_whole_numbers_in_an_unscaled_image_stay_whole_numbers() -> None:
    """Functions written for CVAT must get ``[3, 4]`` as sent, not ``[3.0, 4.0]``."""
    moved = Placement(offset=(1, 2), size=(40, 30)).to_image([3, 4])
    assert (moved, [type(value) for value in moved]) == ([2, 2], [int, int])


def test_a_scaled_placement_without_a_size_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the size"):
        Placement(scale=(0.5, 0.5))


def test_placement_of_an_image_resized_from_a_region_has_its_offset_and_scale() -> None:
    region = Placement(offset=(10, 20), size=(400, 300))
    resized = Placement(scale=(0.5, 0.5), size=(200, 150))
    assert resized.inside(region) == Placement(scale=(0.5, 0.5), offset=(10, 20), size=(200, 150))
    assert WHOLE_FRAME.inside(region) == region


def test_each_pixel_of_a_halved_bitmap_becomes_four_pixels_of_the_frame() -> None:
    placement = Placement(scale=(0.5, 0.5), offset=(10, 20), size=(8, 8))
    bitmap, left, top = placement.bitmap_to_frame(np.array([[True, False], [False, True]]), 1, 0)
    assert (left, top) == (12, 20)
    assert bitmap.astype(int).tolist() == [
        [1, 1, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 1, 1],
        [0, 0, 1, 1],
    ]


@given(st.integers(1, 6000), st.integers(1, 4000), st.integers(1, 1500))
def test_a_bitmap_of_the_whole_image_covers_exactly_the_frame(
    width: int, height: int, side: int
) -> None:
    ratio = side / max(width, height)
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    placement = Placement(scale=(size[0] / width, size[1] / height), size=size)
    # One row or column is enough: the axes do not depend on each other.
    row, left, _ = placement.bitmap_to_frame(np.ones((1, size[0]), dtype=bool), 0, 0)
    column, _, top = placement.bitmap_to_frame(np.ones((size[1], 1), dtype=bool), 0, 0)
    assert (left, top, row.shape[1], column.shape[0]) == (0, 0, width, height)
