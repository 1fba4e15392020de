"""IOG: known names, agreement with a public copy of the network, geometry and answers."""

from __future__ import annotations

import math
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

torch = pytest.importorskip("torch", reason="IOG needs PyTorch")
from tests.functions.catalogue.stand_ins import checkpoints  # noqa: E402

pytestmark = pytest.mark.models

FOLDER = "pytorch/shiyinzhang/iog"
EXPECTED = fixture("iog.outputs.json")
PICTURE = random_picture(200, 300, seed=15)
BOX = [[80, 50], [180, 150]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.make_iog(tmp_path_factory.mktemp("iog") / "IOG_PASCAL_SBD.pth")


class RedNetwork:
    """Stand-in for the network in tests of the geometry: the object is the red part."""

    def __init__(self) -> None:
        self.inputs: np.ndarray | None = None

    def __call__(self, inputs: Any) -> Any:
        self.inputs = inputs.numpy()
        return torch.where(inputs[:, :1] - inputs[:, 1:2] > 127, 4.0, -4.0)


@pytest.fixture
def function() -> Function:
    """Return the function with the stand-in; the network itself has its own tests."""
    loaded = Function(FOLDER)
    interactor = loaded.model.Interactor(loaded.network.torch.nn.Identity())
    interactor.network = RedNetwork()
    loaded.context.user_data.model = interactor
    return loaded


def _picture(box: tuple[int, int, int, int]) -> np.ndarray:
    picture = np.full((200, 300, 3), 60, np.uint8)
    left, top, right, bottom = box
    picture[top:bottom, left:right] = (255, 0, 0)
    return picture


def test_the_network_has_exactly_the_known_names_and_shapes() -> None:
    with torch.device("meta"):
        network = Function(FOLDER).network.Iog()
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes == official_shapes("iog.shapes.json")


def test_logits_equal_the_public_copys(checkpoint: Path) -> None:
    network = Function(FOLDER).model.load_network(checkpoint)
    colours, guidance = random_picture(512, 512, seed=13), random_picture(512, 512, seed=14)
    inputs = np.concatenate([colours, guidance[..., :2]], axis=2).transpose(2, 0, 1)[None]
    with torch.inference_mode():
        logits = network(torch.from_numpy(inputs.astype(np.float32))).numpy()
    np.testing.assert_allclose(samples(logits, 512), EXPECTED["logits"], rtol=1e-4, atol=1e-4)


def test_half_precision_stays_near_and_the_log_says_what_it_runs_on(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_PATH", str(checkpoint))
    monkeypatch.setenv("TORCH_DEVICE", "cpu")
    function = Function(FOLDER)
    function.start()
    assert function.logged == ["The model runs on cpu in float32"]
    picture = random_picture(512, 512, seed=13).transpose(2, 0, 1)[[0, 1, 2, 0, 1]][None]
    inputs = torch.from_numpy(picture.astype(np.float32))
    network = function.context.user_data.model.network
    logits = {}
    for precision in ("float32", "bfloat16"):  # float16 takes minutes on a CPU
        monkeypatch.setenv("TORCH_PRECISION", precision)
        # With random weights the probabilities are too small to be compared.
        with torch.inference_mode(), function.model.half_precision(inputs.device):
            logits[precision] = network(inputs).float().numpy()
    assert 0 < relative_error(logits["bfloat16"], logits["float32"]) < 0.05


@pytest.mark.parametrize("box", [(90, 60, 170, 140), (51, 21, 209, 179), (100, 100, 104, 101)])
def test_the_mask_comes_back_where_the_object_was(
    function: Function, box: tuple[int, int, int, int]
) -> None:
    left, top, right, bottom = box
    inside = [[(left + right) / 2, (top + bottom) / 2]]
    body = {"image": encoded(_picture(box)), "obj_bbox": BOX, "pos_points": inside}
    status, answer = function.invoke(body)
    assert status == 200
    expected = [left, top, right - 1, bottom - 1]
    np.testing.assert_allclose(answer["bounds"], expected, atol=1)
    assert (np.array(answer["mask"]) == 255).mean() > 0.9
    assert len(answer["points"]) >= 3


def test_guidance_is_a_bump_at_each_point_of_the_crop(function: Function) -> None:
    body = {
        "image": encoded(PICTURE),
        "obj_bbox": BOX,
        "pos_points": [[130, 100]],
        "neg_points": [[60, 30], [200, 170]],
    }
    assert function.invoke(body)[0] == 200
    _, _, _, inside, outside = function.context.user_data.model.network.inputs[0]
    scale = 512 / 161  # the crop is the box and 30 pixels around it, inclusive
    row, column = np.unravel_index(inside.argmax(), inside.shape)
    np.testing.assert_allclose([column, row], [80 * scale, 80 * scale], atol=0.5)
    assert inside.max() == pytest.approx(255, abs=3)
    below = outside[round(10 * scale), round(10 * scale)]
    assert below == pytest.approx(255, abs=8)
    # half the height five pixels from the middle of a bump of spread 10
    assert inside[row, column + 5] == pytest.approx(inside[row, column] / 2, rel=0.15)


def test_the_crop_keeps_its_margin_within_the_image() -> None:
    model = Function(FOLDER).model
    crop = model.crop_around((5.0, 50.0, 290.0, 150.0), width=300, height=200)
    assert (crop.left, crop.top, crop.right, crop.bottom) == (0, 20, 299, 180)
    assert (crop.width, crop.height) == (300, 161)


@pytest.mark.parametrize(
    ("threshold", "filled"),
    [(0, True), (0.5, True), (0.98, True), (0.99, False), (1, False), (None, True)],
)
def test_the_threshold_works_over_its_whole_range(
    function: Function, threshold: float | None, filled: bool
) -> None:
    # The stand-in's probability is sigmoid(4) = 0.982.
    body = {
        "image": encoded(_picture((90, 60, 170, 140))),
        "obj_bbox": BOX,
        "pos_points": [[120, 100]],
        "threshold": threshold,
    }
    status, answer = function.invoke(body)
    assert status == 200
    assert bool(answer["points"]) == filled


def test_the_default_threshold_is_cvats_as_a_probability() -> None:
    default = Function(FOLDER).model.DEFAULT_THRESHOLD
    assert math.log(default / (1 - default)) == pytest.approx(0.8)


def test_an_empty_mask_is_answered_by_one_pixel_without_points(function: Function) -> None:
    body = {"image": encoded(_picture((0, 0, 0, 0))), "obj_bbox": BOX, "pos_points": [[120, 100]]}
    status, answer = function.invoke(body)
    assert (status, answer) == (200, {"mask": [[0]], "bounds": [0, 0, 0, 0], "points": []})


def test_without_a_box_the_negative_points_are_its_corners(function: Function) -> None:
    picture = encoded(_picture((90, 60, 170, 140)))
    body = {"image": picture, "obj_bbox": [], "pos_points": [[120, 100]]}
    status, by_points = function.invoke({**body, "neg_points": [[180, 50], [80, 150]]})
    assert status == 200
    assert by_points == function.invoke({**body, "obj_bbox": BOX})[1]


#: negative points beside a click at (120, 100) that are no box around it
NO_BOX: list[list[list[int]]] = [
    [],
    [[180, 50]],
    [[20, 20], [60, 180]],  # both left of it
    [[120, 20], [200, 180]],  # it is on the edge
]


@pytest.mark.parametrize("negative", NO_BOX, ids=["none", "one", "aside", "edge"])
@pytest.mark.parametrize("box", [[], None], ids=["empty", "absent"])
def test_without_a_box_the_whole_picture_is_looked_at(
    function: Function, negative: list[list[int]], box: list[list[int]] | None
) -> None:
    body = {
        "image": encoded(_picture((90, 60, 170, 140))),
        "obj_bbox": box,
        "pos_points": [[120, 100]],
        "neg_points": negative,
    }
    status, answer = function.invoke(body)
    assert status == 200
    np.testing.assert_allclose(answer["bounds"], [90, 60, 169, 139], atol=1)
    red, _, _, inside, outside = function.context.user_data.model.network.inputs[0]
    scale = np.array([512 / 300, 512 / 200])  # of columns and rows
    row, column = np.unravel_index(inside.argmax(), inside.shape)
    np.testing.assert_allclose([column, row], scale * (120, 100), atol=0.5)
    assert (red[:, 0] == 60).all()  # the picture's own first column
    for point in negative:  # each is a bump, none was used as a corner
        x, y = (scale * point).round().astype(int)
        assert outside[y, x] > 240
    assert outside.any() == bool(negative)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"pos_points": []}, "'pos_points' is empty"),
        ({"obj_bbox": [[400, 10], [500, 50]]}, "'obj_bbox' lies outside the image"),
        ({"pos_points": [[-9999, 0]]}, "none of 'pos_points' lies near the box or the image"),
        ({"pos_points": [[-9999, 0]], "obj_bbox": []}, "none of 'pos_points' lies near"),
        ({"threshold": "high"}, "'threshold' is 'high'"),
        ({"image": None}, "'image' is missing"),
    ],
)
def test_bad_input_is_a_sentence(function: Function, body: dict[str, Any], words: str) -> None:
    good = {"image": encoded(PICTURE), "obj_bbox": BOX, "pos_points": [[130, 100]]}
    status, answer = function.invoke({**good, **body})
    assert status == 400
    assert words in answer["error"]
