"""Layouts of the YOLO family's outputs, and the choice of objects among candidates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from common.yolo_outputs import (
    MAX_CANDIDATES,
    MAX_OBJECTS,
    Candidates,
    Head,
    Layout,
    choose,
    find_layout,
    read_candidates,
    rotated_iou,
    rotated_nms,
)

COCO = Head(classes=80, extra=0)
ONE = Head(classes=1, extra=0)


@pytest.mark.parametrize(
    ("shape", "head", "layout"),
    [
        ((1, 25200, 85), COCO, Layout.WITH_OBJECTNESS),  # YOLOv5
        ((1, 25200, 117), Head(classes=80, extra=32), Layout.WITH_OBJECTNESS),  # YOLOv5-seg
        ((1, 84, 8400), COCO, Layout.BY_CHANNEL),  # YOLOv8, 9, 11, 12
        ((1, 116, 8400), Head(classes=80, extra=32), Layout.BY_CHANNEL),  # YOLOv8-seg
        ((1, 56, 8400), Head(classes=1, extra=51), Layout.BY_CHANNEL),  # YOLOv8-pose
        ((1, 20, 8400), Head(classes=15, extra=1, rotated=True), Layout.BY_CHANNEL),  # -obb
        ((1, 300, 6), COCO, Layout.SUPPRESSED),  # YOLOv10, 26, nms=True
        ((1, 300, 38), Head(classes=80, extra=32), Layout.SUPPRESSED),  # YOLO26-seg
        ((1, 300, 57), Head(classes=1, extra=51), Layout.SUPPRESSED),  # YOLO26-pose
        ((1, 300, 7), Head(classes=15, extra=1, rotated=True), Layout.SUPPRESSED),  # -obb
        ((17, 7), COCO, Layout.NUMBERED),  # YOLOv7 --end2end
        # One class: YOLOv5 and suppressed outputs have six columns each.
        ((1, 25200, 6), ONE, Layout.WITH_OBJECTNESS),
        ((1, 300, 6), ONE, Layout.SUPPRESSED),
        ((1, 5, 8400), ONE, Layout.BY_CHANNEL),
    ],
)
def test_the_layout_is_told_by_the_shape_of_the_output(
    shape: tuple[int, ...], head: Head, layout: Layout
) -> None:
    assert find_layout(shape, head, width=640, height=640) is layout


@pytest.mark.parametrize("shape", [(1, 90, 8400), (1, 3, 80, 80, 85), (8400, 84), (1, 300, 8)])
def test_a_shape_of_no_layout_raises_an_error_that_names_the_possible_ones(
    shape: tuple[int, ...],
) -> None:
    with pytest.raises(ValueError, match=r"must be \[1, 84, n\], \[1, n, 85\] or \[1, n, 6\]"):
        find_layout(shape, COCO, width=640, height=640)


TWO = Head(classes=2, extra=1)
# The same two candidates, a score of 0.75 for class 1 and of 0.5 for class 0, in each layout.
TABLES = {
    Layout.BY_CHANNEL: np.array([[20, 30, 8, 4, 0.25, 0.75, 7], [50, 60, 2, 2, 0.5, 0.125, 8]]).T,
    Layout.WITH_OBJECTNESS: np.array(
        [[20, 30, 8, 4, 0.75, 0.25, 1, 7], [50, 60, 2, 2, 0.5, 1, 0.125, 8]]
    ),
    Layout.SUPPRESSED: np.array([[16, 28, 24, 32, 0.75, 1, 7], [49, 59, 51, 61, 0.5, 0, 8]]),
    Layout.NUMBERED: np.array([[0, 16, 28, 24, 32, 1, 0.75, 7], [0, 49, 59, 51, 61, 0, 0.5, 8]]),
}


@pytest.mark.parametrize("layout", TABLES)
@pytest.mark.parametrize(("threshold", "count"), [(0.0, 2), (0.5, 2), (0.51, 1), (0.76, 0)])
def test_candidates_of_all_layouts_are_the_same(
    layout: Layout, threshold: float, count: int
) -> None:
    found = read_candidates(TABLES[layout], layout, TWO, threshold)
    assert found.boxes.tolist() == [[16, 28, 24, 32], [49, 59, 51, 61]][:count]
    assert found.scores.tolist() == [0.75, 0.5][:count]
    assert found.classes.tolist() == [1, 0][:count]
    assert found.extras.tolist() == [[7], [8]][:count]


def test_a_class_that_has_no_label_is_left_out() -> None:
    table = np.array([[0, 0, 9, 9, 0.9, 2.0], [0, 0, 9, 9, 0.8, 1.0]])
    found = read_candidates(table, Layout.SUPPRESSED, Head(classes=2, extra=0), 0.1)
    assert found.classes.tolist() == [1]


def _candidates(boxes: np.ndarray, scores: np.ndarray, kinds: list[int]) -> Candidates:
    extras = np.zeros((len(boxes), 1))
    return Candidates(boxes, scores, np.array(kinds, dtype=np.intp), extras)


def test_the_suppression_keeps_the_best_box_of_each_class() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 11], [0, 0, 10, 10], [50, 50, 60, 60]], float)
    found = _candidates(boxes, np.array([0.6, 0.9, 0.8, 0.7]), [0, 0, 1, 0])
    chosen = choose(found, Layout.BY_CHANNEL, Head(classes=2, extra=1))
    assert chosen.scores.tolist() == [0.9, 0.8, 0.7]


def test_suppressed_outputs_are_not_suppressed_again() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10]], float)
    found = _candidates(boxes, np.array([0.6, 0.9]), [0, 0])
    chosen = choose(found, Layout.SUPPRESSED, Head(classes=1, extra=1))
    assert chosen.scores.tolist() == [0.9, 0.6]


def test_the_number_of_candidates_is_limited_before_the_suppression() -> None:
    count = MAX_CANDIDATES + 500
    # Pairs of equal boxes: after the limit, half of the candidates are left.
    places = np.arange(count) // 2 * 20.0
    boxes = np.stack([places, places, places + 10, places + 10], axis=1)
    scores = np.linspace(1, 0, count)
    chosen = choose(_candidates(boxes, scores, [0] * count), Layout.BY_CHANNEL, ONE)
    assert len(chosen.scores) == MAX_OBJECTS
    assert chosen.scores.tolist() == scores[: 2 * MAX_OBJECTS : 2].tolist()


def test_equal_rotated_boxes_overlap_wholly_and_far_ones_not_at_all() -> None:
    box = np.array([50, 50, 30, 10, 0.5])
    others = np.array(
        [[50, 50, 30, 10, 0.5], [50, 50, 10, 30, 0.5 + math.pi / 2], [500, 0, 9, 9, 0]]
    )
    assert rotated_iou(box, others) == pytest.approx([1, 1, 0], abs=1e-2)


def test_rotated_boxes_that_cross_are_both_kept() -> None:
    boxes = np.array([[50, 50, 60, 6, 0], [50, 50, 60, 6, math.pi / 2], [51, 50, 60, 6, 0.01]])
    kept = rotated_nms(boxes, np.array([0.9, 0.8, 0.7]), np.zeros(3, dtype=int), max_iou=0.7)
    assert kept.tolist() == [0, 1]


def test_rotated_boxes_of_other_classes_are_kept() -> None:
    boxes = np.array([[50, 50, 60, 6, 0]] * 2, float)
    kept = rotated_nms(boxes, np.array([0.9, 0.8]), np.array([0, 1]), max_iou=0.7)
    assert kept.tolist() == [0, 1]
