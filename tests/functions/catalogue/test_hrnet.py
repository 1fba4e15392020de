"""Whole-body poses: official names, agreement with MMPose and MMDetection, and the answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.functions.catalogue.harness import Function, encoded
from tests.functions.catalogue.recipes import (
    fixture,
    official_shapes,
    random_picture,
    relative_error,
    samples,
)

torch = pytest.importorskip("torch", reason="HRNet needs PyTorch")
from tests.functions.catalogue.stand_ins import checkpoints  # noqa: E402

pytestmark = pytest.mark.models

FOLDER = "pytorch/mmpose/hrnet32"
POSE = fixture("hrnet_w32.outputs.json")
PEOPLE = fixture("rtmdet_nano.outputs.json")
PICTURE = random_picture(300, 400, seed=6)


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Function:
    """Return the function, started with checkpoints as MMEngine writes them."""
    folder: Path = tmp_path_factory.mktemp("hrnet")
    pose = checkpoints.make_pose(folder / "pose.pth")
    people = checkpoints.make_people(folder / "people.pth")
    loaded = Function(FOLDER)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MODEL_PATH", str(pose))
        environment.setenv("DETECTOR_MODEL_PATH", str(people))
        loaded.start()
    return loaded


def test_the_log_says_what_it_runs_on(function: Function) -> None:
    [line] = function.logged
    assert re.fullmatch(r"The model runs on (cpu in float32|cuda.* in float16)", line)


@pytest.mark.parametrize(
    ("module", "network", "shapes"),
    [
        ("hrnet", "PoseNetwork", "hrnet_w32.shapes.json"),
        ("rtmdet", "RtmDet", "rtmdet_nano.shapes.json"),
    ],
)
def test_the_networks_have_exactly_the_official_names_and_shapes(
    module: str, network: str, shapes: str
) -> None:
    with torch.device("meta"):
        made = getattr(getattr(Function(FOLDER), module), network)()
    names = {name: tuple(value.shape) for name, value in made.state_dict().items()}
    assert names == official_shapes(shapes)


def test_heat_maps_equal_mmposes(function: Function) -> None:
    crop = function.model.normalise([random_picture(256, 192, seed=5)])
    with torch.inference_mode():
        maps = function.context.user_data.model.network(crop).numpy()
    np.testing.assert_allclose(samples(maps, 512), POSE["heat_maps"], atol=1e-4)


def test_key_points_equal_mmposes_with_flip_test(function: Function) -> None:
    box = np.array([POSE["box"]])
    [(points, scores)] = function.context.user_data.model.poses(PICTURE, box)
    np.testing.assert_allclose(scores, POSE["scores"], atol=1e-4)
    np.testing.assert_allclose(points, POSE["keypoints"], atol=1e-3)


def test_half_precision_stays_near(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = function.context.user_data.model
    crop = function.model.normalise([random_picture(256, 192, seed=5)])
    monkeypatch.setenv("TORCH_PRECISION", "float32")
    maps = detector.heat_maps(crop)
    monkeypatch.setenv("TORCH_PRECISION", "bfloat16")  # float16 takes minutes on a CPU
    assert 0 < relative_error(detector.heat_maps(crop), maps) < 0.03


def test_a_crop_of_the_images_own_scale_has_its_pixels(function: Function) -> None:
    centre, size = function.model.pad_box(np.array(POSE["box"]))
    np.testing.assert_allclose([*centre, *size], [200, 150, 192, 256])
    cut = function.model.cut(PICTURE, centre, size)
    np.testing.assert_array_equal(cut, PICTURE[22:278, 104:296])
    bgr = cut[..., ::-1].transpose(2, 0, 1)
    np.testing.assert_allclose(samples(bgr, 256), POSE["input"], atol=1.01)


@pytest.mark.parametrize("expected", POSE["other_boxes"], ids=["small", "tall", "wide"])
def test_key_points_of_a_box_of_another_scale_are_mmposes(
    function: Function, expected: dict[str, Any]
) -> None:
    box = np.array([expected["box"]])
    centre, size = function.model.pad_box(box[0])
    assert abs(size[0] / 192 - 1) > 0.3
    cut = function.model.cut(PICTURE, centre, size)[..., ::-1].transpose(2, 0, 1)
    differs = np.abs(np.array(samples(cut, 256)) - expected["input"])
    assert np.quantile(differs, 0.95) <= 2  # OpenCV counts in 1/32 pixels, and rounds
    [(points, scores)] = function.context.user_data.model.poses(PICTURE, box)
    np.testing.assert_allclose(scores, expected["scores"], atol=0.02)
    # Heat maps of random weights are flat, so a difference in the last digit of a pixel selects
    # another best cell in some maps. The other maps are equal to the last digit.
    distance = np.abs(points - np.array(expected["keypoints"])).max(axis=1)
    assert (distance < 0.01).mean() > 0.85


#: boxes of other scales and shapes, x0, y0, x1, y1: enlarged, shrunk, tall, wide, cut off
BOXES = [
    [150.5, 90.25, 210.75, 171.5],
    [10.0, 5.0, 390.0, 295.0],
    [140.0, 10.0, 200.0, 290.0],
    [40.0, 90.0, 360.0, 170.0],
    [100.0, 100.0, 500.0, 420.0],
]


@pytest.mark.parametrize("box", BOXES)
def test_a_crop_is_the_affine_image_of_its_padded_box(function: Function, box: list[float]) -> None:
    """Compare with the formula: the box enlarged by a quarter, in the crop's shape, bilinear."""
    x0, y0, x1, y1 = box
    height = max(1.25 * (y1 - y0), 1.25 * (x1 - x0) * 256 / 192)
    scale = height / 256  # pixels of the image in one of the crop
    x = (x0 + x1) / 2 + (np.arange(192) - 96) * scale
    y = (y0 + y1) / 2 + (np.arange(256) - 128) * scale
    inside = ((y >= 0) & (y <= 299))[:, None] & ((x >= 0) & (x <= 399))[None, :]
    left = np.clip(np.floor(x).astype(int), 0, 398)
    top = np.clip(np.floor(y).astype(int), 0, 298)
    across, down = (x - left)[None, :, None], (y - top)[:, None, None]
    pixels = PICTURE.astype(np.float64)
    upper = pixels[top][:, left] * (1 - across) + pixels[top][:, left + 1] * across
    lower = pixels[top + 1][:, left] * (1 - across) + pixels[top + 1][:, left + 1] * across
    expected = upper * (1 - down) + lower * down

    cut = function.model.cut(PICTURE, *function.model.pad_box(np.array(box)))
    assert inside.mean() > 0.1
    np.testing.assert_allclose(cut[inside], expected[inside], atol=1.01)
    beyond = ((y < -1) | (y > 300))[:, None] | ((x < -1) | (x > 400))[None, :]
    assert not cut[beyond].any()


#: a key point in a box, as parts of its width and height
PLACES = [(0.5, 0.5), (0.2, 0.3), (0.9, 0.7)]


class RedMaps:
    """Stand-in for the network in tests of the geometry: each key point is at a red place."""

    def __call__(self, crops: Any) -> Any:
        redness = (crops[:, :1] - crops[:, 1:2]).clamp(min=0)
        return torch.nn.functional.avg_pool2d(redness, 4).expand(-1, 133, -1, -1)


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("at", PLACES)
def test_a_key_point_comes_back_to_its_place_in_the_image(
    function: Function, monkeypatch: pytest.MonkeyPatch, box: list[float], at: tuple[float, float]
) -> None:
    x = min(box[0] + at[0] * (box[2] - box[0]), 390)
    y = min(box[1] + at[1] * (box[3] - box[1]), 290)
    _, size = function.model.pad_box(np.array(box))
    cell = size[0] / 48  # pixels of the image in one of a heat map
    rows, columns = np.mgrid[:300, :400]
    picture = np.zeros((300, 400, 3), np.uint8)
    near = np.hypot(columns - x, rows - y) <= max(cell, 2)
    picture[near] = (255, 0, 0)
    detector = function.context.user_data.model
    monkeypatch.setattr(detector, "network", RedMaps())
    [(points, scores)] = detector.poses(picture, np.array([box]))
    assert scores.min() > 0
    # A cell's point is its first pixel, and the best cell may be the blob's next one.
    assert np.hypot(points[:, 0] - x, points[:, 1] - y).max() < 1.6 * cell


def test_a_crop_at_half_the_scale_takes_pixels_middle_to_middle(function: Function) -> None:
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (300, 200, 3)).copy()
    cut = function.model.cut(ramp, np.array([100.0, 150.0]), np.array([96.0, 128.0]))
    # The crop's column i shows the image's column 100 + (i - 96) / 2.
    np.testing.assert_allclose(cut[128, [96, 98, 100], 0], [100, 101, 102], atol=1)


def test_mirrored_points_are_mmposes() -> None:
    assert list(Function(FOLDER).keypoints.MIRRORED) == POSE["flip_indices"]


def test_person_levels_equal_mmdetections(function: Function) -> None:
    network = function.context.user_data.model.finder.network
    with torch.inference_mode():
        levels = network(function.people.normalise(random_picture(320, 320, seed=7)))
    for (logits, distances), expected in zip(levels, PEOPLE["levels"], strict=True):
        got = samples(logits.numpy(), 128)
        np.testing.assert_allclose(got, expected["logits"], rtol=1e-4, atol=1e-4)
        got = samples(distances.numpy(), 128)
        np.testing.assert_allclose(got, expected["distances"], rtol=1e-4, atol=1e-4)


def test_a_cells_distances_become_a_box_of_the_picture(function: Function) -> None:
    levels = [
        (torch.full((1, 1, side, side), -9.0), torch.zeros(1, 4, side, side))
        for side in (40, 20, 10)
    ]
    levels[1][0][0, 0, 3, 5] = 2.0
    levels[1][1][0, :, 3, 5] = torch.tensor([10.0, 20.0, 30.0, 40.0])
    boxes, scores = function.people.decode(levels)
    best = int(scores.argmax())
    assert boxes[best].tolist() == [5 * 16 - 10, 3 * 16 - 20, 5 * 16 + 30, 3 * 16 + 40]
    assert scores[best] == pytest.approx(1 / (1 + np.exp(-2)))


def test_the_best_cell_moves_a_quarter_towards_its_higher_neighbour() -> None:
    maps = np.zeros((4, 64, 48), np.float32)
    maps[0, 10, 20], maps[0, 10, 21], maps[0, 9, 20] = 1.0, 0.5, 0.5
    maps[1, 0, 0] = 1.0  # a corner stays
    maps[2, 63, 47] = 0.25
    maps[3] = -1.0  # no evidence at all
    points, scores = Function(FOLDER).model.locate(maps)
    assert points.tolist()[:3] == [[81.0, 39.0], [0.0, 0.0], [188.0, 252.0]]
    assert points[3].tolist() == [-4.0, -4.0]
    assert scores.tolist() == [1.0, 1.0, 0.25, -1.0]


def test_points_below_the_threshold_are_outside_and_empty_skeletons_are_left_out() -> None:
    model = Function(FOLDER).model
    points, scores = np.arange(266.0).reshape(133, 2), np.zeros(133)
    scores[[0, 5, 91]] = 0.9, 0.55, 0.551
    body, hands = model.skeletons(points, scores, 0.8, 0.55)
    assert (body["label"], body["type"], body["confidence"]) == ("body", "skeleton", 0.8)
    shown = [element["label"] for element in body["elements"] if not element["outside"]]
    assert shown == ["1"]  # 0.55 is not above 0.55
    assert hands["elements"][0] == {
        "label": "1", "type": "points", "outside": 0, "points": [182, 183], "confidence": 0.551,
    }  # fmt: skip
    assert len(hands["elements"]) == 42


def test_labels_are_those_of_the_specification() -> None:
    function = Function(FOLDER)
    skeletons = function.keypoints.SKELETONS
    assert [label["name"] for label in function.labels()] == list(skeletons)
    for label in function.labels():
        numbers = [element["id"] for element in label["sublabels"]]
        names = [element["name"] for element in label["sublabels"]]
        assert numbers == list(skeletons[label["name"]])
        assert names == [str(place + 1) for place in range(len(numbers))]
        for name in names:  # every point is drawn
            assert f'data-label-name="{name}"' in label["svg"]


@pytest.mark.parametrize("threshold", [0, 0.5, 1, None])
def test_a_picture_is_answered(function: Function, threshold: float | None) -> None:
    status, items = function.invoke({"image": encoded(PICTURE), "threshold": threshold})
    assert status == 200
    names = {label["name"] for label in function.labels()}
    assert {item["label"] for item in items} <= names


def test_bad_input_is_a_sentence(function: Function) -> None:
    status, answer = function.invoke({"image": None, "threshold": 0.5})
    assert (status, answer) == (400, {"error": "'image' is missing; send an image file in base64"})


def test_a_picture_without_people_has_no_items(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function.people, "MIN_SCORE", 1.1)
    assert function.invoke({"image": encoded(PICTURE)}) == (200, [])
