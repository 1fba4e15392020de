from __future__ import annotations

import numpy as np
import pytest
from common.networks.mobile_sam import Prompt, choose, cut_out, enlarge_logits, prepare, scaled_size
from hypothesis import given
from hypothesis import strategies as st

NONE = np.zeros((0, 2))


def test_a_prompt_without_a_box_ends_with_padding() -> None:
    points, kinds = Prompt(positive=np.array([[1.0, 2]]), negative=np.array([[3.0, 4]])).points()
    assert points.tolist() == [[1, 2], [3, 4], [0, 0]]
    assert kinds.tolist() == [1, 0, -1]


def test_a_box_is_two_corners() -> None:
    points, kinds = Prompt(positive=NONE, negative=NONE, box=np.array([1.0, 2, 3, 4])).points()
    assert points.tolist() == [[1, 2], [3, 4]]
    assert kinds.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("positive", "negative", "box", "ambiguous"),
    [
        (1, 0, False, True),
        (2, 0, False, False),
        (1, 1, False, False),
        (0, 0, True, False),
        (1, 0, True, False),
        (3, 2, True, False),
    ],
)
def test_only_a_single_click_without_a_box_is_ambiguous(
    positive: int, negative: int, box: bool, ambiguous: bool
) -> None:
    prompt = Prompt(
        positive=np.zeros((positive, 2)),
        negative=np.zeros((negative, 2)),
        box=np.array([1.0, 2, 3, 4]) if box else None,
    )
    assert prompt.ambiguous == ambiguous


def test_a_single_click_gets_the_best_of_three_masks_and_other_prompts_the_first() -> None:
    guesses = np.array([0.99, 0.2, 0.5, 0.4])
    assert choose(guesses, ambiguous=True) == 2
    assert choose(guesses, ambiguous=False) == 0
    assert choose(guesses[[2, 0, 1, 3]], ambiguous=False) == 0


@pytest.mark.parametrize(
    ("size", "expected"),
    [((400, 600), (683, 1024)), ((2048, 1024), (1024, 512)), ((1, 5000), (1, 1024))],
)
def test_the_longer_side_becomes_1024(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert scaled_size(size) == expected


def test_the_input_is_padded_with_zeros() -> None:
    made = prepare(np.full((50, 100, 3), 255, dtype=np.uint8))
    assert made.shape == (1, 3, 1024, 1024)
    assert np.allclose(
        made[0, :, 511, 1023], (255 - np.array([123.675, 116.28, 103.53])) / [58.395, 57.12, 57.375]
    )
    assert not made[0, :, 512:].any()


def test_logits_are_enlarged_without_the_padding() -> None:
    logits = np.full((256, 256), -10.0)
    logits[:128, 64:128] = 10.0  # left to right a quarter to the middle, of a picture twice as wide
    mask = enlarge_logits(logits, (300, 600)) > 0
    assert mask.shape == (300, 600)
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max()) == (0, 299)
    assert (columns.min(), columns.max()) == (150, 299)


@given(
    st.integers(1, 700),
    st.integers(1, 700),
    st.lists(st.tuples(*[st.integers(0, 255)] * 2, *[st.integers(1, 60)] * 2), max_size=3),
    st.integers(0, 2**32 - 1),
)
def test_the_enlarged_part_has_all_pixels_of_the_mask(
    height: int, width: int, things: list[tuple[int, int, int, int]], seed: int
) -> None:
    random = np.random.default_rng(seed)
    logits = random.uniform(-10, -0.1, (256, 256)).astype(np.float32)
    for x, y, columns, rows in things:
        logits[y : y + rows, x : x + columns] += np.float32(10)
    expected = enlarge_logits(logits, (height, width))
    mask, (left, top) = cut_out(logits, (height, width))
    found = np.zeros((height, width), dtype=bool)
    found[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    differs = found != (expected > 0)
    assert (np.abs(expected[differs]) < 1e-4).all()  # the last digit of a logit at the edge


def test_only_the_part_with_the_mask_is_enlarged() -> None:
    logits = np.full((256, 256), -10.0)
    logits[100:110, 50:60] = 10.0
    mask, (left, top) = cut_out(logits, (3000, 4000))
    assert (mask.shape[0] < 300, mask.shape[1] < 300) == (True, True)
    assert (left, top) < (50 * 4000 / 256, 100 * 4000 / 256) < (left + 300, top + 300)


def test_logits_without_a_positive_value_give_an_empty_mask() -> None:
    assert not cut_out(np.full((256, 256), -1.0), (300, 600))[0].any()
    padding = np.full((256, 256), -1.0)
    padding[200:] = 1.0  # below a picture that is twice as wide as high
    assert not cut_out(padding, (300, 600))[0].any()
