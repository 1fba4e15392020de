from __future__ import annotations

import numpy as np
import pytest
from common.boxes import area, class_nms, clip, iou, letterbox, nms, square
from hypothesis import given
from hypothesis import strategies as st

SIDES = st.floats(0, 100, allow_nan=False, width=32)


@st.composite
def box_arrays(draw: st.DrawFn) -> np.ndarray:
    corners = draw(st.lists(st.tuples(SIDES, SIDES, SIDES, SIDES), min_size=1, max_size=12))
    return np.array([[x, y, x + w, y + h] for x, y, w, h in corners], dtype=np.float64)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1.0),
        ([0, 0, 10, 10], [5, 0, 15, 10], 1 / 3),
        ([0, 0, 10, 10], [10, 0, 20, 10], 0.0),  # touching boxes
        ([0, 0, 10, 10], [2, 2, 4, 4], 0.04),  # one inside the other
        ([3, 3, 3, 3], [3, 3, 3, 3], 0.0),  # no area: not NaN
    ],
)
def test_iou_of_two_boxes_is_computed(
    first: list[float], second: list[float], expected: float
) -> None:
    assert iou(np.array([first], float), np.array([second], float))[0, 0] == pytest.approx(expected)


def test_an_inverted_box_has_no_area() -> None:
    assert area(np.array([[5.0, 5.0, 1.0, 1.0]]))[0] == 0.0


@given(box_arrays(), box_arrays())
def test_iou_is_symmetric_and_bounded(first: np.ndarray, second: np.ndarray) -> None:
    overlaps = iou(first, second)
    assert (overlaps >= 0).all()
    assert (overlaps <= 1 + 1e-9).all()
    assert np.allclose(overlaps, iou(second, first).T)


@given(box_arrays(), st.randoms(use_true_random=False), st.floats(0, 1))
def test_nms_drops_only_boxes_that_overlap_a_better_one(
    boxes: np.ndarray, random: object, max_iou: float
) -> None:
    scores = np.array([random.random() for _ in boxes])  # type: ignore[attr-defined]
    kept = nms(boxes, scores, max_iou=max_iou)
    assert scores[kept].tolist() == sorted(scores[kept], reverse=True)
    among = iou(boxes[kept], boxes[kept])
    assert (among[~np.eye(len(kept), dtype=bool)] <= max_iou).all()
    for dropped in set(range(len(boxes))) - set(kept.tolist()):
        better = kept[scores[kept] >= scores[dropped]]
        assert (iou(boxes[[dropped]], boxes[better]) > max_iou).any()


def test_class_nms_keeps_equal_boxes_of_two_classes() -> None:
    boxes = np.array([[0, 0, 10, 10]] * 3, dtype=np.float64)
    kept = class_nms(boxes, np.array([0.5, 0.9, 0.7]), np.array([1, 2, 1]), max_iou=0.5)
    assert kept.tolist() == [1, 2]


def test_nms_of_no_boxes_keeps_none() -> None:
    none = np.zeros((0, 4))
    assert nms(none, np.zeros(0), max_iou=0.5).tolist() == []
    assert class_nms(none, np.zeros(0), np.zeros(0, dtype=int), max_iou=0.5).tolist() == []


def test_clip_limits_boxes_to_the_image() -> None:
    assert clip(np.array([[-5.0, 2.0, 50.0, 60.0]]), width=40, height=30).tolist() == [
        [0, 2, 40, 30]
    ]


def test_square_has_the_centre_of_the_box() -> None:
    assert square(np.array([10.0, 10.0, 30.0, 20.0]), scale=1.5) == (5.0, 0.0, 35.0, 30.0)


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize(("width", "height"), [(100, 50), (50, 100), (33, 77), (640, 640), (1, 9)])
def test_letterbox_undo_maps_the_scaled_picture_back(width: int, height: int, centre: bool) -> None:
    image = np.full((height, width, 3), 255, dtype=np.uint8)
    canvas, placed = letterbox(image, width=64, height=64, fill=0, centre=centre)
    rows, columns = canvas[..., 0].nonzero()
    found = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], dtype=float)
    assert placed.undo(found) == pytest.approx(np.array([[0, 0, width, height]]))


def test_letterbox_undo_uses_the_scale_of_each_side_of_a_thin_picture() -> None:
    # 333 x 97 becomes 160 x 47, not 160 x 46.6: the middle of the 47 rows is that of the picture.
    _, placed = letterbox(np.zeros((97, 333, 3), np.uint8), width=160, height=160)
    middle = (160 - 47) // 2 + 47 / 2
    assert placed.undo(np.array([[0, middle, 80, middle]])) == pytest.approx(
        np.array([[0, 48.5, 166.5, 48.5]])
    )
