from __future__ import annotations

import numpy as np
from common.networks.nanodet import BINS, SIDE, decode, prepare, select


def test_a_cell_is_decoded_to_the_expected_distances() -> None:
    cells = 13  # stride 32
    scores = np.zeros((cells * cells, 80))
    logits = np.full((cells * cells, 4 * BINS), -30.0)
    place = 5 * cells + 3  # row 5, column 3: centre at (112, 176)
    for side, strides in enumerate((1, 2, 3, 0)):  # left, top, right, bottom
        logits[place, side * BINS + strides] = 30.0
    boxes, found = decode([scores], [logits])
    assert np.allclose(boxes[place], [112 - 32, 176 - 64, 112 + 96, 176])
    assert found.shape == (cells * cells, 80)


def test_uniform_distribution_is_decoded_to_its_mean() -> None:
    boxes, _ = decode([np.zeros((52 * 52, 80))], [np.zeros((52 * 52, 4 * BINS))])
    assert np.allclose(boxes[0], [4 - 40, 4 - 40, 4 + 40, 4 + 40])  # stride 8, five strides


def test_positions_below_the_threshold_are_left_out_and_the_others_are_unchanged() -> None:
    rng = np.random.default_rng(5)
    scores, logits = rng.random((13 * 13, 80)) ** 40, rng.normal(size=(13 * 13, 4 * BINS))
    boxes, found = decode([scores], [logits])
    kept = scores.max(axis=1) >= 0.5
    some_boxes, some_scores = decode([scores], [logits], 0.5)
    assert 0 < kept.sum() < len(kept)
    assert (some_boxes == boxes[kept]).all()
    assert (some_scores == found[kept]).all()


def test_cell_has_its_best_class_and_nms_runs_per_class() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 9], [5, 5, 5, 9]], dtype=float)
    scores = np.zeros((4, 80))
    scores[0, [3, 4]] = 0.6, 0.9
    scores[1, 7] = 0.8
    scores[2, 4] = 0.7  # overlaps the first, same class
    scores[3, 5] = 1.0  # has no width
    found = select(boxes, scores, 0.5)
    assert found.classes.tolist() == [4, 7]
    assert found.scores.tolist() == [0.9, 0.8]


def test_threshold_of_zero_returns_a_bounded_number_of_boxes() -> None:
    corners = np.tile(np.arange(3000)[:, None] * 20.0, (1, 4))
    boxes = corners + np.array([0, 0, 10, 10])
    assert len(select(boxes, np.full((3000, 80), 0.1), 0.0).boxes) == 100


def test_input_is_in_bgr_order_and_normalised() -> None:
    image = np.zeros((10, 20, 3), dtype=np.uint8)
    image[...] = (255, 0, 0)  # red
    made = prepare(image)
    assert made.shape == (1, 3, SIDE, SIDE)
    assert np.allclose(made[0, :, 0, 0], [-103.53 / 57.375, -116.28 / 57.12, 131.325 / 58.395])
