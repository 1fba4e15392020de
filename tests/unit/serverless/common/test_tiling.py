"""Detection in tiles: the boxes of the tiles, and the boxes of detections that are kept."""

from __future__ import annotations

import numpy as np
import pytest
from common.tiling import Detections, detect_in_tiles, tiles, tiles_per_side

SMALLEST = 0.25  # share of the side of the detector's input


def detect(image: np.ndarray) -> Detections:
    """Return the rectangles of one colour that are large enough on the given image."""
    boxes, classes = [], []
    for value in np.unique(image[image > 0]):
        rows, columns = (
            np.nonzero((image == value).any(axis=1)),
            np.nonzero((image == value).any(axis=0)),
        )
        box = (columns[0][0], rows[0][0], columns[0][-1] + 1, rows[0][-1] + 1)
        if box[3] - box[1] >= SMALLEST * image.shape[0]:
            boxes.append(box)
            classes.append(int(value))
    scores = np.linspace(0.9, 0.5, len(boxes))
    return Detections(np.array(boxes, float).reshape(-1, 4), scores, np.array(classes, int))


def scene(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    image = np.zeros((100, 200), dtype=np.uint8)
    for value, (left, top, right, bottom) in enumerate(boxes, start=1):
        image[top:bottom, left:right] = value
    return image


def found(image: np.ndarray, per_side: int) -> set[tuple[float, ...]]:
    answer = detect_in_tiles(image, detect, per_side=per_side)
    assert len(answer.boxes) == len(answer.scores) == len(answer.classes)
    assert (np.diff(answer.scores) <= 0).all()
    return {tuple(box) for box in answer.boxes.tolist()}


SMALL, LARGE = (10, 10, 30, 28), (50, 5, 190, 95)


def test_a_small_object_is_found_in_its_tile_only() -> None:
    assert found(scene(SMALL), 1) == set()
    assert found(scene(SMALL), 2) == {SMALL}


def test_large_object_is_found_once_without_its_parts_in_the_tiles() -> None:
    assert found(scene(LARGE), 1) == {LARGE}
    assert found(scene(LARGE), 3) == {LARGE}


def test_an_object_in_the_overlap_of_two_tiles_is_found_once() -> None:
    middle = (95, 20, 105, 45)
    assert found(scene(middle), 2) == {middle}


def test_object_at_the_border_of_the_image_is_kept() -> None:
    corner = (180, 80, 200, 100)
    assert found(scene(corner), 2) == {corner}


@pytest.mark.parametrize("per_side", [1, 2, 3, 8])
@pytest.mark.parametrize(("width", "height"), [(640, 480), (333, 1), (7, 5000)])
def test_tiles_cover_the_image_and_overlap(width: int, height: int, per_side: int) -> None:
    covered = np.zeros((height, width), dtype=int)
    for left, top, right, bottom in tiles(width, height, per_side):
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        covered[top:bottom, left:right] += 1
    assert covered.min() >= 1
    assert covered.max() > 1 or per_side == 1


def test_the_setting_is_a_number_from_1_to_8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DETECTOR_TILES", raising=False)
    assert tiles_per_side() == 1
    monkeypatch.setenv("DETECTOR_TILES", "3")
    assert tiles_per_side() == 3
    for wrong in ("0", "9", "-1", "two"):
        monkeypatch.setenv("DETECTOR_TILES", wrong)
        with pytest.raises(ValueError, match="use a number from 1 to 8"):
            tiles_per_side()
