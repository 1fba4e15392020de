"""Conversion of masks to polygons and of polygons to masks."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pycocotools import mask as coco

from cvat_lambda.annotations import contours
from cvat_lambda.annotations.errors import ShapeError
from cvat_lambda.annotations.placement import Bitmap


def blob(seed: int, size: int, roughness: int) -> Bitmap:
    """Return a star-shaped mask without holes, whose radius is a sum of a few waves."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - size / 2
    angle, distance = np.arctan2(y, x), np.hypot(x, y)
    radius = np.full_like(angle, 0.3 * size)
    for wave in range(1, roughness + 1):
        phase, height = random.uniform(0, 2 * np.pi), random.uniform(0, 0.12 * size / wave)
        radius += height * np.cos(wave * angle + phase)
    bitmap: Bitmap = distance < radius
    return bitmap


def overlap(bitmap: Bitmap, polygon: tuple[float, ...]) -> float:
    filled = contours.fill(polygon, bitmap.shape[1], bitmap.shape[0])
    return float((filled & bitmap).sum() / (filled | bitmap).sum())


@given(st.integers(0, 2**32 - 1), st.integers(8, 220), st.integers(0, 7))
def test_polygon_of_a_blob_covers_it(seed: int, size: int, roughness: int) -> None:
    bitmap = blob(seed, size, roughness)
    assume(bitmap.any())
    polygon = contours.largest_polygon(bitmap, 0, 0)
    assert polygon is not None
    assert overlap(bitmap, polygon) >= 0.95


def textbook(vertices: contours.Vertices, tolerance: float) -> list[int]:
    """Return the vertices that the algorithm of Douglas and Peucker keeps, by plain recursion."""
    far = int(np.argmax(np.square(vertices - vertices[0]).sum(axis=1)))
    closed = np.concatenate([vertices, vertices[:1]])

    def inner(begin: int, end: int) -> list[int]:
        away = [
            segment_distance(closed[i], closed[begin], closed[end]) for i in range(begin + 1, end)
        ]
        if not away or max(away) <= tolerance:
            return []
        middle = begin + 1 + away.index(max(away))
        return [*inner(begin, middle), middle, *inner(middle, end)]

    return [0, *inner(0, far), far, *inner(far, len(vertices))]


def segment_distance(point: Any, start: Any, end: Any) -> float:
    along, offset = end - start, point - start
    length = float((along * along).sum())
    share = min(max(float((offset * along).sum()) / length, 0), 1) if length else 0
    return float(np.hypot(*(offset - share * along)))


@pytest.mark.parametrize("tolerance", [0.3, 1.0, 1.5, 4.0])
def test_simplified_outline_has_the_vertices_of_the_reference_algorithm(tolerance: float) -> None:
    """The vectorized code must keep the same vertices, also for outlines of noise."""
    random = np.random.default_rng(1973)
    for share in (0.2, 0.4, 0.5, 0.6, 0.7, 0.9):
        for outline in contours.trace(random.random((24, 24)) < share):
            kept = contours.douglas_peucker(outline, tolerance)
            assert kept.tolist() == outline[textbook(outline, tolerance)].tolist()


def test_polygon_of_a_disc_has_few_corners() -> None:
    y, x = np.mgrid[:400, :400]
    polygon = contours.largest_polygon(np.hypot(x - 200, y - 200) < 150, 0, 0)
    assert polygon is not None
    assert len(polygon) // 2 <= 48


def test_a_rectangle_has_four_corners_on_the_edges_of_its_pixels() -> None:
    assert contours.largest_polygon(np.ones((3, 5), dtype=bool), 10, 20) == (
        *(10.0, 20.0),
        *(15.0, 20.0),
        *(15.0, 23.0),
        *(10.0, 23.0),
    )


def test_polygon_is_that_of_the_largest_part_without_its_hole() -> None:
    bitmap = np.zeros((20, 30), dtype=bool)
    bitmap[1:4, 1:4] = True
    bitmap[5:15, 10:25] = True
    bitmap[7:12, 12:20] = False
    polygon = contours.largest_polygon(bitmap, 0, 0)
    assert polygon == (10.0, 5.0, 25.0, 5.0, 25.0, 15.0, 10.0, 15.0)


def test_pixels_that_touch_at_a_corner_belong_to_one_part() -> None:
    assert len(contours.trace(np.eye(5, dtype=bool))) == 1


@pytest.mark.parametrize("shape", [(1, 1), (4, 7)])
def test_an_empty_mask_has_no_polygon(shape: tuple[int, int]) -> None:
    assert contours.largest_polygon(np.zeros(shape, dtype=bool), 0, 0) is None


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 20), st.floats(0, 1))
def test_filled_outlines_of_a_mask_cover_every_pixel(
    seed: int, width: int, height: int, share: float
) -> None:
    bitmap = np.random.default_rng(seed).random((height, width)) < share
    filled = np.zeros_like(bitmap)
    for outline in contours.trace(bitmap):
        filled |= contours.fill(tuple(outline.ravel().tolist()), width, height)
    assert np.array_equal(filled & bitmap, bitmap)
    # All other filled pixels are holes, and no hole is at the border.
    holes = filled & ~bitmap
    assert not np.any([holes[0].any(), holes[-1].any(), holes[:, 0].any(), holes[:, -1].any()])


@given(st.integers(0, 2**32 - 1), st.integers(8, 80))
def test_filled_unsimplified_outline_equals_its_mask(seed: int, size: int) -> None:
    bitmap = blob(seed, size, 3)
    outlines = contours.trace(bitmap)
    filled = np.zeros_like(bitmap)
    for outline in outlines:
        filled |= contours.fill(tuple(outline.ravel().tolist()), size, size)
    assert np.array_equal(filled, bitmap)
    assert sum(map(contours.signed_area, outlines)) == bitmap.sum()


def test_filled_triangle_covers_half_of_its_box() -> None:
    mask = contours.mask_of((10.0, 10.0, 110.0, 10.0, 10.0, 110.0))
    assert mask is not None
    assert mask[-4:] == (10, 10, 108, 108)
    assert sum(mask[1:-4:2]) == pytest.approx(5000, abs=60)


def test_memory_for_a_small_object_in_a_large_mask_depends_on_the_object() -> None:
    bitmap = np.zeros((3000, 4000), dtype=bool)
    bitmap[500:540, 900:950] = True
    tracemalloc.start()
    polygon = contours.largest_polygon(bitmap, 7, 5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert polygon == (907, 505, 957, 505, 957, 545, 907, 545)
    assert peak < 1 << 21


def test_fill_takes_less_than_five_bytes_per_pixel() -> None:
    tracemalloc.start()
    filled = contours.fill((0, 0, 2000, 0, 2000, 1000, 0, 1000), 2000, 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert filled.all()
    assert peak < 5 * filled.size


@pytest.mark.parametrize("times", [255, 256, 257, 512, 513])
def test_outline_that_runs_around_many_times_is_filled_by_the_even_odd_rule(times: int) -> None:
    filled = contours.fill((1, 1, 4, 1, 4, 4, 1, 4) * times, 6, 6)
    assert filled.sum() == (9 if times % 2 else 0)


def test_a_polygon_between_the_centres_of_pixels_fills_nothing() -> None:
    assert contours.mask_of((0.6, 0.6, 0.9, 0.6, 0.9, 0.9)) is None


# pycocotools 2.0.11 does not support the keyword `copy` of numpy 2.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@given(st.integers(0, 2**32 - 1), st.integers(3, 12), st.integers(1, 300), st.integers(1, 300))
def test_filled_polygon_has_the_pixels_that_pycocotools_decodes(
    seed: int, corners: int, width: int, height: int
) -> None:
    random = np.random.default_rng(seed)
    polygon = (random.uniform(-0.1, 1.1, (corners, 2)) * (width, height)).ravel().tolist()
    decoded = coco.decode(coco.frPyObjects([polygon], height, width))[:, :, 0]
    assert np.array_equal(contours.fill(tuple(polygon), width, height), decoded.astype(bool))


def test_polygon_with_an_outline_of_millions_of_pixels_is_refused() -> None:
    """Filling a star of 5000 random corners took 20 s."""
    corners = np.random.default_rng(1).uniform(0, 8000, (5000, 2))
    with pytest.raises(ShapeError, match="too long for a mask"):
        contours.mask_of(tuple(corners.ravel().tolist()))


@pytest.mark.parametrize("polygon", [(5.0, 5.0) * 3, (1.0, 2.0, 9.0, 2.0, 4.0, 2.0)])
def test_polygon_without_an_area_becomes_no_mask(polygon: tuple[float, ...]) -> None:
    assert contours.mask_of(polygon) is None


def test_polygon_with_a_box_of_too_many_pixels_is_refused() -> None:
    with pytest.raises(ShapeError, match="the polygon of 30000 x 30000 pixels is too large"):
        contours.mask_of((0.0, 0.0, 30000.0, 0.0, 0.0, 30000.0))
