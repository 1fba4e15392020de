from __future__ import annotations

import numpy as np
import pytest
from common.networks.mobile_sam import (
    RULES,
    choose,
    cut_out,
    enlarge_logits,
    mask_rule,
    prepare,
    scaled_size,
)
from common.networks.prompts import Prompt
from hypothesis import given
from hypothesis import strategies as st

NONE = np.zeros((0, 2))


def test_a_prompt_without_a_box_ends_with_padding() -> None:
    points, kinds = Prompt(positive=np.array([[1.0, 2]]), negative=np.array([[3.0, 4]])).points()
    assert points.tolist() == [[1, 2], [3, 4], [0, 0]]
    assert kinds.tolist() == [1, 0, -1]


def test_box_is_encoded_as_its_two_corners() -> None:
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


def boxed(*box: float, click: bool = False) -> Prompt:
    positive = np.array([[box[0] + 1, box[1] + 1]]) if click else NONE
    return Prompt(positive=positive, negative=NONE, box=np.array(box))


CLICK = Prompt(positive=np.zeros((1, 2)), negative=NONE)
TWO_CLICKS = Prompt(positive=np.zeros((2, 2)), negative=NONE)
SIZE = (1024, 1024)  # four pixels per cell


def filled(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    logits = np.full((256, 256), -10.0)
    logits[top:bottom, left:right] = 10.0
    return logits


BACKGROUND = -filled(40, 40, 80, 120)
PERSON, TROUSERS, CROWD = filled(40, 40, 80, 120), filled(40, 80, 80, 120), filled(10, 30, 200, 130)
ON_PERSON = (160.0, 160.0, 320.0, 480.0)


@pytest.mark.parametrize("rule", RULES)
def test_clicks_without_a_box_get_the_mask_of_segment_anythings_rule(rule: str) -> None:
    masks = np.stack([BACKGROUND, TROUSERS, PERSON, CROWD])
    ious = np.array([0.99, 0.2, 0.5, 0.4])
    assert choose(masks, ious, CLICK, SIZE, rule=rule) == 2
    assert choose(masks, ious, TWO_CLICKS, SIZE, rule=rule) == 0


@pytest.mark.parametrize("click", [False, True])
def test_a_box_gets_the_mask_that_fits_it(click: bool) -> None:
    """The first mask may be the background, with the highest predicted IoU."""
    masks, ious = np.stack([BACKGROUND, TROUSERS, PERSON, CROWD]), np.array([0.99, 0.2, 0.5, 0.4])
    prompt = boxed(*ON_PERSON, click=click)
    assert choose(masks, ious, prompt, SIZE, rule="box") == 2
    assert choose(masks, ious, prompt, SIZE, rule="standard") == 0


def test_the_first_mask_is_preferred_to_one_that_fits_a_little_better() -> None:
    almost = filled(40, 40, 80, 112)
    masks = np.stack([almost, TROUSERS, PERSON, CROWD])
    assert choose(masks, np.ones(4), boxed(*ON_PERSON), SIZE, rule="box") == 0


def test_mask_in_the_padding_is_ignored() -> None:
    """Of an image of 1024 x 512 pixels the lower half of the decoder's mask is padding."""
    padding = filled(0, 128, 256, 256)
    masks = np.stack([padding, filled(40, 40, 80, 90), padding, padding])
    prompt = boxed(160.0, 160.0, 320.0, 360.0)
    assert choose(masks, np.ones(4), prompt, (512, 1024), rule="box") == 1


def test_stable_mask_is_preferred_to_an_unstable_one_with_the_same_box() -> None:
    vague = filled(40, 40, 80, 120)
    vague[42:118, 42:78] = 0.5
    masks = np.stack([TROUSERS, vague, PERSON, CROWD])
    assert choose(masks, np.ones(4), boxed(*ON_PERSON), SIZE, rule="box") == 2


def test_unknown_rule_raises_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOBILE_SAM_RULE", raising=False)
    assert mask_rule() == "box"
    monkeypatch.setenv("MOBILE_SAM_RULE", "standard")
    assert mask_rule() == "standard"
    monkeypatch.setenv("MOBILE_SAM_RULE", "first")
    with pytest.raises(ValueError, match="use one of box, standard"):
        mask_rule()


@pytest.mark.parametrize(
    ("size", "expected"),
    [((400, 600), (683, 1024)), ((2048, 1024), (1024, 512)), ((1, 5000), (1, 1024))],
)
def test_image_is_resized_to_a_longer_side_of_1024(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
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


def test_only_the_part_of_the_logits_with_the_mask_is_enlarged() -> None:
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
