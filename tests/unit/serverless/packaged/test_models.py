"""The pure functions of the packaged models, compared with results by hand or brute force."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest


@pytest.mark.parametrize("kernel_shape", [(3, 3, 4), (3, 8, 8), (3, 1, 5)])
def test_correlation_equals_the_sums_of_a_sliding_kernel(
    siamese: ModuleType, kernel_shape: tuple[int, int, int]
) -> None:
    rng = np.random.default_rng(1)
    search, kernel = rng.normal(size=(3, 8, 8)), rng.normal(size=kernel_shape)
    kernel /= np.linalg.norm(kernel)
    found = siamese.correlate(search, kernel)
    centred = search - search.mean()
    _, rows, columns = kernel_shape
    assert found.shape == (9 - rows, 9 - columns)
    for row in range(9 - rows):
        for column in range(9 - columns):
            window = centred[:, row : row + rows, column : column + columns]
            expected = (window * kernel).sum() / np.linalg.norm(window)
            assert found[row, column] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("size", [(3, 3), (8, 5), (12, 9)])  # odd and even kernels
@pytest.mark.parametrize("shift", [(0, 0), (8, -16), (-24, 40)])  # whole cells of both strides
def test_the_response_is_highest_at_the_displacement(
    siamese: ModuleType, size: tuple[int, int], shift: tuple[int, int]
) -> None:
    rng = np.random.default_rng(2)
    kernels, layers = [], []
    for stride in siamese.STRIDES:
        cells, wide = siamese.EXEMPLAR // stride, siamese.SEARCH // stride
        rows, columns = (min(cells, side * 8 // stride) for side in size)
        kernel = rng.normal(size=(4, rows, columns)).astype(np.float32)
        kernels.append(kernel / np.linalg.norm(kernel))
        layer = rng.normal(scale=0.01, size=(4, wide, wide)).astype(np.float32)
        # The crop of the exemplar starts here. In the search patch the object is displaced.
        at = [
            (cells - side) // 2 + (wide - cells) // 2 + moved // stride
            for side, moved in ((rows, shift[1]), (columns, shift[0]))
        ]
        layer[:, at[0] : at[0] + rows, at[1] : at[1] + columns] = kernel
        layers.append(layer)
    response = siamese.respond(layers, kernels)
    row, column = np.unravel_index(response.argmax(), response.shape)
    middle = (siamese.RESPONSE - 1) / 2
    found = ((column - middle) * siamese.STEP, (row - middle) * siamese.STEP)
    assert abs(found[0] - shift[0]) <= siamese.STEP
    assert abs(found[1] - shift[1]) <= siamese.STEP


@pytest.mark.parametrize("kernel_shape", [(3, 3, 4), (3, 8, 8), (3, 16, 15), (3, 16, 16)])
def test_best_placement_near_the_middle_is_that_of_the_whole_correlation(
    siamese: ModuleType, kernel_shape: tuple[int, int, int]
) -> None:
    rng = np.random.default_rng(3)
    search = rng.normal(size=(3, 16, 16)).astype(np.float32)
    kernel = rng.normal(size=kernel_shape).astype(np.float32)
    kernel /= np.linalg.norm(kernel)
    found = siamese.correlate(search, kernel)
    middle = [(cells - 1) // 2 for cells in found.shape]
    reach = siamese.SCALE_REACH
    near = [slice(max(0, place - reach), place + reach + 1) for place in middle]
    expected = found[near[0], near[1]].max()
    assert siamese.best_near_the_middle(search, kernel) == pytest.approx(expected, abs=1e-6)


def test_the_context_of_a_square_is_twice_its_side(siamese: ModuleType) -> None:
    assert siamese.context(np.array([0.0, 0, 30, 30])) == pytest.approx(60)


def test_a_face_is_decoded_from_its_cell(centerface: ModuleType) -> None:
    heat = np.zeros((8, 8))
    heat[3, 5], heat[6, 1] = 0.9, 0.4
    scale = np.full((2, 8, 8), np.log(4.0))  # height and width of 16 pixels
    offset = np.zeros((2, 8, 8))
    offset[:, 3, 5] = 0.25, 0.5  # y, x in cells
    boxes, scores = centerface.decode(heat, scale, offset, 0.5)
    assert boxes.tolist() == [[16.0, 7.0, 32.0, 23.0]]  # centre (24, 15)
    assert scores.tolist() == [0.9]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((512, 512), (512, 512)),
        ((500, 333), (512, 320)),
        ((3000, 4000), (704, 960)),
        ((5, 5), (32, 32)),
    ],
)
def test_large_images_are_scaled_down_and_small_ones_not_enlarged(
    centerface: ModuleType, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert centerface.input_size(*size) == expected


def test_points_are_mapped_from_the_patch_to_the_picture(movenet: ModuleType) -> None:
    output = np.array([[0.0, 0.0, 1.0], [0.5, 0.25, 1.0], [1.0, 1.0, 1.0]])  # y, x, score
    located = movenet.locate(output, (-10.0, 20.0, 90.0, 120.0))
    assert located.tolist() == [[-10, 20], [15, 70], [90, 120]]


def test_skeleton_has_every_point_and_marks_invisible_ones(movenet: ModuleType) -> None:
    points, scores = np.arange(34).reshape(17, 2).astype(float), np.full(17, 0.5)
    visible = np.arange(17) < 5
    item = movenet.skeleton(points, scores, visible, 0.75)
    assert [element["label"] for element in item["elements"]] == list(movenet.POINTS)
    assert [element["outside"] for element in item["elements"]] == [0] * 5 + [1] * 12
    assert item["elements"][2]["points"] == [4.0, 5.0]
    assert (item["type"], item["label"], item["confidence"]) == ("skeleton", "person", 0.75)


def test_histogram_is_computed_for_each_stripe(reid: ModuleType) -> None:
    patch = np.zeros((256, 128, 3), dtype=np.uint8)
    patch[:64] = (255, 0, 0)
    counts = reid.histogram(patch).reshape(reid.STRIPES, -1)
    assert counts.sum(axis=1).tolist() == [64 * 128] * 4
    assert (counts[1] == counts[3]).all()
    assert counts[0].argmax() != counts[1].argmax()


def test_corners_are_sorted_and_the_box_has_an_area(reid: ModuleType) -> None:
    boxes = [{"points": [30, 40, 10, 20]}, {"points": [5, 5, 5, 5]}]
    assert reid.corners(boxes).tolist() == [[10, 20, 30, 40], [5, 5, 6, 6]]
    assert reid.corners([]).shape == (0, 4)
