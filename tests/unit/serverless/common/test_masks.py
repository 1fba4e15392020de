from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from common.errors import BadInput
from common.masks import (
    bounds,
    cvat_mask,
    interactor_answer,
    mask_item,
    paste,
    polygon,
    read_run_lengths,
    run_lengths,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image, ImageDraw

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14))


def drawn(*rows: str) -> np.ndarray:
    return np.array([[cell == "#" for cell in row] for row in rows])


def largest_region(mask: np.ndarray) -> list[np.ndarray]:
    """Return the largest regions, holes filled, by flood fill: slow, and independent of OpenCV."""
    regions = [fill_holes(region) for region in regions_of(mask)]
    most = max((region.sum() for region in regions), default=0)
    return [region for region in regions if region.sum() == most]


def regions_of(mask: np.ndarray, *, corners: bool = True) -> list[np.ndarray]:
    """Return the regions of a mask, whose pixels touch by side or, if wanted, by corner."""
    left = {tuple(point) for point in np.argwhere(mask)}
    steps = [
        (dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if corners or abs(dy) + abs(dx) == 1
    ]
    regions = []
    while left:
        pending, region = [left.pop()], np.zeros_like(mask)
        while pending:
            y, x = pending.pop()
            region[y, x] = True
            near = {(y + dy, x + dx) for dy, dx in steps} & left
            left -= near
            pending += near
        regions.append(region)
    return regions


def fill_holes(region: np.ndarray) -> np.ndarray:
    """Return a region with what it encloses: the rest that does not reach the picture's border."""
    outside = ~np.pad(region, 1)
    [around] = [part for part in regions_of(outside, corners=False) if part[0, 0]]
    return ~around[1:-1, 1:-1]


@given(MASKS)
def test_decoded_cvat_mask_equals_the_mask(mask: np.ndarray) -> None:
    flat = cvat_mask(mask)
    if not mask.any():
        assert flat is None
        return
    assert flat is not None
    left, top, right, bottom = flat[-4:]
    back = np.zeros_like(mask)
    back[top : bottom + 1, left : right + 1] = np.reshape(
        flat[:-4], (bottom - top + 1, right - left + 1)
    )
    assert set(flat[:-4]) <= {0, 1}
    assert (back == mask).all()


@given(MASKS)
def test_the_polygon_is_that_of_the_largest_region(mask: np.ndarray) -> None:
    points = np.array(polygon(mask, tolerance=0))
    if not mask.any():
        assert points.size == 0
        return
    box = (*points.min(axis=0), *points.max(axis=0))
    candidates = largest_region(mask)
    if (points % 1).any():  # the half pixels around a region without an area
        assert (*np.add(box[:2], 0.5), *np.subtract(box[2:], 0.5)) in map(bounds, candidates)
        return
    assert mask[points[:, 1].astype(int), points[:, 0].astype(int)].all()
    assert any(
        bounds(region) == box and (painted(points, region) == region).all() for region in candidates
    )


def painted(points: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Return the pixels whose centres lie inside a polygon or on its border."""
    canvas = Image.new("1", (like.shape[1], like.shape[0]))
    ImageDraw.Draw(canvas).polygon([(x, y) for x, y in points], fill=1, outline=1)
    return np.asarray(canvas)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (drawn("....", ".##.", ".##."), [[1, 1], [1, 2], [2, 2], [2, 1]]),
        (drawn(".#.", "###", ".#."), [[1, 0], [0, 1], [1, 2], [2, 1]]),
        (drawn("#..", ".##", "###"), [[0, 0], [1, 1], [0, 2], [2, 2], [2, 1], [1, 1]]),  # a corner
        (drawn("#"), [[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]),  # no area
        (drawn("###"), [[-0.5, -0.5], [2.5, -0.5], [2.5, 0.5], [-0.5, 0.5]]),
        (drawn("##.####"), [[2.5, -0.5], [6.5, -0.5], [6.5, 0.5], [2.5, 0.5]]),  # the longer line
        (drawn("#####", ".....", "##..."), [[-0.5, -0.5], [4.5, -0.5], [4.5, 0.5], [-0.5, 0.5]]),
    ],
)  # fmt: skip
def test_polygon_of_a_small_region_has_the_expected_points(
    mask: np.ndarray, expected: list[list[float]]
) -> None:
    assert polygon(mask, tolerance=0) == expected


def test_polygon_of_a_mask_with_holes_is_its_outline() -> None:
    ring = np.ones((20, 20), dtype=bool)
    ring[5:15, 5:15] = False
    assert polygon(ring) == [[0, 0], [0, 19], [19, 19], [19, 0]]


@pytest.mark.parametrize("radius", [5, 20, 60])
def test_the_polygon_of_a_disc_covers_it(radius: int) -> None:
    rows, columns = np.mgrid[:150, :150]
    disc = (rows - 75) ** 2 + (columns - 70) ** 2 <= radius**2
    outline = polygon(disc)
    canvas = Image.new("1", (150, 150))
    ImageDraw.Draw(canvas).polygon([(x, y) for x, y in outline], fill=1)
    filled = np.asarray(canvas)
    assert (filled & disc).sum() / (filled | disc).sum() > 0.9
    assert len(outline) < 40


@given(MASKS)
def test_a_polygon_has_three_points_or_none(mask: np.ndarray) -> None:
    outline = polygon(mask)
    assert (len(outline) >= 3) == bool(mask.any())


@pytest.mark.parametrize("tolerance", [0.5, 2.0, 6.0])
def test_no_border_pixel_is_farther_from_the_polygon_than_the_tolerance(tolerance: float) -> None:
    rows, columns = np.mgrid[:150, :150]
    angle = np.arctan2(rows - 75, columns - 75)
    flower = np.hypot(rows - 75, columns - 75) <= 50 + 10 * np.sin(7 * angle)
    points = np.array(polygon(flower, tolerance=tolerance))
    border = np.array(polygon(flower, tolerance=0))
    starts, ends = points, np.roll(points, -1, axis=0)
    lines = ends - starts
    along = ((border[:, None] - starts) * lines).sum(axis=2) / (lines**2).sum(axis=1)
    nearest = starts + along.clip(0, 1)[..., None] * lines
    distances = np.hypot(*np.moveaxis(border[:, None] - nearest, 2, 0)).min(axis=1)
    assert distances.max() <= tolerance
    assert len(points) < len(border)


@given(MASKS, st.integers(0, 9), st.integers(0, 9))
def test_cropped_mask_with_its_offset_gives_the_answer_of_the_whole_mask(
    mask: np.ndarray, left: int, top: int
) -> None:
    picture = np.pad(mask, ((top, 3), (left, 5)))
    assert mask_item("cup", mask, 0.5, at=(left, top)) == mask_item("cup", picture, 0.5)
    assert cvat_mask(mask, at=(left, top)) == cvat_mask(picture)
    assert interactor_answer(mask, at=(left, top)) == interactor_answer(picture)


def test_a_mask_item_on_a_large_image_takes_memory_for_its_box_only() -> None:
    box = np.array([1500.0, 900, 1580, 1020])
    tracemalloc.start()
    try:
        part, place = paste(np.ones((33, 33)), box, width=40_000, height=30_000)
        item = mask_item("cup", part, 0.5, at=place)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert item is not None
    assert item["mask"][-4:] == [1500, 900, 1579, 1019]
    assert peak_bytes < 4_000_000  # of the picture's 1.2 G pixels


def whole(part: tuple[np.ndarray, tuple[int, int]], width: int, height: int) -> np.ndarray:
    mask, (left, top) = part
    picture = np.zeros((height, width), dtype=bool)
    picture[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return picture


def test_paste_of_a_full_map_fills_the_box() -> None:
    mask = whole(paste(np.ones((4, 4)), np.array([2.0, 1.0, 6.0, 3.0]), width=8, height=5), 8, 5)
    assert bounds(mask) == (2, 1, 5, 2)
    assert mask.sum() == 8


def test_paste_spreads_the_cells_over_the_box() -> None:
    left_half = np.array([[1.0, 0.0], [1.0, 0.0]])
    part = paste(left_half, np.array([0.0, 0.0, 100.0, 10.0]), width=100, height=10)
    assert bounds(whole(part, 100, 10)) == (0, 0, 49, 9)


def test_paste_cuts_at_the_picture() -> None:
    part = paste(np.ones((3, 3)), np.array([-5.0, -5.0, 3.0, 2.0]), width=10, height=10)
    assert bounds(whole(part, 10, 10)) == (0, 0, 2, 1)
    outside, _ = paste(np.ones((3, 3)), np.array([20.0, 0.0, 30.0, 5.0]), width=10, height=10)
    assert not outside.any()


def test_an_interactor_answers_a_crop_of_two_values() -> None:
    mask = np.zeros((50, 60), dtype=bool)
    mask[10:14, 20:25] = True
    answer = interactor_answer(mask)
    assert answer["bounds"] == [20, 10, 24, 13]
    assert answer["mask"] == [[255] * 5] * 4
    assert answer["points"] == [[20, 10], [20, 13], [24, 13], [24, 10]]


def test_an_empty_mask_is_answered_by_one_pixel_without_points() -> None:
    # CVAT reads mask[0].length. Without points it searches for a contour.
    answer = interactor_answer(np.zeros((50, 60), dtype=bool))
    assert answer == {"mask": [[0]], "bounds": [0, 0, 0, 0], "points": []}


def test_a_mask_item_has_a_flat_polygon_and_no_item_without_pixels() -> None:
    mask = np.ones((3, 4), dtype=bool)
    item = mask_item("cup", mask, 0.123456)
    assert item == {
        "label": "cup",
        "type": "mask",
        "mask": [1] * 12 + [0, 0, 3, 2],
        "points": [0, 0, 0, 2, 3, 2, 3, 0],
        "confidence": 0.1235,
    }
    assert mask_item("cup", ~mask, 1.0) is None


def test_pasting_a_mask_of_12_megapixels_takes_less_than_100_mb() -> None:
    small = np.random.default_rng(3).random((33, 33))
    tracemalloc.start()
    mask, place = paste(small, np.array([0.5, 0.5, 3999.5, 2999.5]), width=4000, height=3000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (mask.shape, place) == ((3000, 4000), (0, 0))
    assert peak < 100e6  # of 12 megapixels as bytes, not as numbers of eight


@pytest.mark.parametrize("at_once", [1, 50, 1000])  # less than a row, some rows, all
def test_a_pasted_mask_does_not_depend_on_the_chunk_size(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    small, box = np.random.default_rng(4).random((7, 9)), np.array([2.25, 1.5, 28.75, 30.0])
    expected, place = paste(small, box, width=40, height=32)
    monkeypatch.setattr("common.masks.PIXELS_AT_ONCE", at_once)
    found, found_place = paste(small, box, width=40, height=32)
    assert (found == expected).all()
    assert found_place == place


# --- run lengths ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["....", ".##.", "..#."], [0, 2, 1, 1, 1, 1, 2, 2]),
        (["....", "..#.", ".##."], [1, 3, 1, 1, 2, 2]),
        (["####", "####", "####"], [0, 12, 0, 0, 3, 2]),
    ],
)
def test_run_lengths_count_zeros_first_and_are_read_back(
    rows: list[str], expected: list[int]
) -> None:
    mask = drawn(*rows)
    assert run_lengths(mask) == expected
    assert (read_run_lengths(expected, name="m", width=4, height=3) == mask).all()


def test_run_lengths_beyond_the_image_are_cut_at_its_borders() -> None:
    mask = read_run_lengths([0, 16, -2, -1, 1, 2], name="m", width=4, height=2)
    assert mask.tolist() == [[True, True, False, False], [True, True, False, False]]
    assert not read_run_lengths([0, 40, 8, 8, 17, 11], name="m", width=4, height=2).any()


@pytest.mark.parametrize(
    "sent", [None, "x", [0, 1], [0, 5, 0, 0, 1, 1], [0, 4, 1, 1, 0, 0], [-1, 5, 0, 0, 1, 1]]
)
def test_damaged_run_lengths_are_refused_by_the_name_of_their_field(sent: object) -> None:
    with pytest.raises(BadInput, match="'m'"):
        read_run_lengths(sent, name="m", width=4, height=4)
