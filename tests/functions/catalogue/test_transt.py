"""TransT: official names, agreement with the authors' network, geometry, states and answers."""

from __future__ import annotations

import json
import re
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

torch = pytest.importorskip("torch", reason="TransT needs PyTorch")
from tests.functions.catalogue.stand_ins import checkpoints  # noqa: E402

pytestmark = pytest.mark.models

FOLDER = "pytorch/dschoerk/transt"
EXPECTED = fixture("transt.outputs.json")
PICTURE = random_picture(240, 320, seed=10)
SHAPE = {"type": "rectangle", "points": [100, 60, 160, 140]}


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Function:
    """Return the function, started with a checkpoint as the authors' trainer writes it."""
    path = checkpoints.make_transt(tmp_path_factory.mktemp("transt") / "transt.pth")
    loaded = Function(FOLDER)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MODEL_PATH", str(path))
        loaded.start()
    return loaded


def test_the_log_says_what_it_runs_on(function: Function) -> None:
    [line] = function.logged
    assert re.fullmatch(r"The model runs on (cpu in float32|cuda.* in float16)", line)


def test_the_network_has_exactly_the_official_names_and_shapes() -> None:
    with torch.device("meta"):
        network = Function(FOLDER).network.TransT()
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes == official_shapes("transt.shapes.json")


def test_scores_and_boxes_equal_the_authors(function: Function) -> None:
    tracker = function.context.user_data.model
    template, search = random_picture(128, 128, seed=8), random_picture(256, 256, seed=9)
    [(scores, boxes)] = tracker.run([template], [search])
    np.testing.assert_allclose(samples(scores, 256), EXPECTED["scores"], atol=1e-5)
    np.testing.assert_allclose(samples(boxes, 256), EXPECTED["boxes"], atol=1e-5)


def test_half_precision_stays_near(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = function.context.user_data.model
    patches = [random_picture(128, 128, seed=8)], [random_picture(256, 256, seed=9)]
    monkeypatch.setenv("TORCH_PRECISION", "float32")
    [(scores, boxes)] = tracker.run(*patches)
    monkeypatch.setenv("TORCH_PRECISION", "bfloat16")  # float16 takes minutes on a CPU
    [(half_scores, half_boxes)] = tracker.run(*patches)
    assert 0 < relative_error(half_boxes, boxes) < 0.03
    np.testing.assert_allclose(half_scores, scores, rtol=0.1)


def test_an_object_starts_where_it_was_drawn(function: Function) -> None:
    body = {"image": encoded(PICTURE), "shapes": [SHAPE], "states": []}
    status, answer = function.invoke(body)
    assert status == 200
    assert answer["shapes"] == [SHAPE]
    assert answer["states"][0]["centre"] == [130, 100]
    assert answer["states"][0]["size"] == [60, 80]


def test_a_state_that_went_through_json_tracks_like_one_that_stayed(function: Function) -> None:
    tracker = function.context.user_data.model
    [target] = tracker.start(PICTURE, [np.array(SHAPE["points"], dtype=np.float64)])
    _, answer = function.invoke({"image": encoded(PICTURE), "shapes": [SHAPE]})
    frame = random_picture(240, 320, seed=11)
    [target] = tracker.follow(frame, [target])
    states = json.loads(json.dumps(answer["states"]))
    body = {"image": encoded(frame), "shapes": [None], "states": states}
    status, answer = function.invoke(body)
    assert status == 200
    left, top, right, bottom = target.box
    expected = [max(left, 0), max(top, 0), min(right, 320), min(bottom, 240)]
    assert answer["shapes"][0]["points"] == [round(float(value), 2) for value in expected]
    assert answer["states"][0]["centre"] == list(target.centre)


def test_many_objects_in_one_call_are_answered_as_each_alone(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function.model, "OBJECTS_AT_ONCE", 2)
    frame = encoded(random_picture(240, 320, seed=11))
    shapes = [{"type": "rectangle", "points": [10 * i, 20, 10 * i + 30 + i, 80]} for i in range(3)]
    states = function.invoke({"image": encoded(PICTURE), "shapes": shapes})[1]["states"]
    _, together = function.invoke({"image": frame, "states": states})
    for index in (1, 2):  # of both batches
        _, alone = function.invoke({"image": frame, "states": [states[index]]})
        got, expected = (
            answer["shapes"][place]["points"] for answer, place in ((together, index), (alone, 0))
        )
        np.testing.assert_allclose(got, expected, atol=0.02)


def test_new_and_known_objects_keep_their_places(function: Function) -> None:
    states = function.invoke({"image": encoded(PICTURE), "shapes": [SHAPE]})[1]["states"]
    other = {"type": "rectangle", "points": [5, 6, 50, 60]}
    body = {"image": encoded(PICTURE), "shapes": [other, None], "states": [None, states[0]]}
    status, answer = function.invoke(body)
    assert status == 200
    assert answer["shapes"][0] == other
    assert answer["states"][1]["template"] == states[0]["template"]


@pytest.mark.parametrize(
    ("size", "margin", "side"),
    [
        ((60.0, 60.0), 1, 120),  # twice a square object
        ((60.0, 60.0), 3, 240),  # four times
        ((60.0, 80.0), 1, 140),  # sqrt(130 * 150) = 139.6
        ((0.2, 0.1), 1, 1),
    ],
)
def test_patches_have_the_papers_context(
    size: tuple[float, float], margin: float, side: int
) -> None:
    assert Function(FOLDER).model.patch_side(size, margin) == side


def test_a_patch_of_the_images_own_scale_has_its_pixels_and_the_mean_outside() -> None:
    model = Function(FOLDER).model
    patch = model.cut(PICTURE, (64.0, 40.0), 128, pixels=128, fill=(1, 2, 3))
    # floor(64 - 129 / 2 + 1 / 2) = 0 and floor(40 - 64) = -24
    np.testing.assert_array_equal(patch[24:], PICTURE[:104, :128])
    assert (patch[:24] == (1, 2, 3)).all()


def _one_box(x: float, y: float, width: float, height: float) -> tuple[np.ndarray, np.ndarray]:
    """Return scores with the maximum in one cell near the middle, and that cell's given box."""
    scores, boxes = np.zeros(1024), np.full((1024, 4), 0.25)
    scores[15 * 32 + 16] = 1.0
    boxes[15 * 32 + 16] = (x, y, width, height)
    return scores, boxes


def test_the_best_cells_box_moves_the_target() -> None:
    model = Function(FOLDER).model
    target = model.Target(
        centre=(100.0, 80.0), size=(60.0, 60.0), template=PICTURE[:128, :128], fill=(0, 0, 0)
    )
    box = model.choose(*_one_box(0.6, 0.4, 0.25, 0.25))
    assert box.tolist() == [0.6, 0.4, 0.25, 0.25]
    found = model.moved(target, box, 240, width=320, height=240)
    assert found.centre == pytest.approx((124.0, 56.0))
    assert found.size == pytest.approx((60.0, 60.0))
    assert found.box.tolist() == pytest.approx([94, 26, 154, 86])


@pytest.mark.parametrize(
    ("box", "centre", "size"),
    [
        ((2.0, 0.5, 0.25, 0.25), (320, 80), (60, 60)),  # not outside the image
        ((0.5, -1.0, 0.25, 0.25), (100, 0), (60, 60)),
        ((0.5, 0.5, 0.01, 0.25), (100, 80), (10, 60)),  # not narrower than 10 pixels
        ((0.5, 0.5, 2.0, 2.0), (100, 80), (320, 240)),  # not larger than the image
    ],
)
def test_a_target_stays_within_the_image(
    box: tuple[float, ...], centre: tuple[float, float], size: tuple[float, float]
) -> None:
    model = Function(FOLDER).model
    target = model.Target(
        centre=(100.0, 80.0), size=(60.0, 60.0), template=PICTURE[:128, :128], fill=(0, 0, 0)
    )
    found = model.moved(target, np.array(box), 240, width=320, height=240)
    assert (found.centre, found.size) == (centre, size)


def test_of_two_cells_in_the_middle_the_higher_score_wins_whatever_the_size_of_its_box() -> None:
    """Neither the authors' tracker nor CVAT's fork penalizes a change of size."""
    model = Function(FOLDER).model
    scores, boxes = _one_box(0.5, 0.5, 0.9, 0.1)
    scores[15 * 32 + 15] = 0.8  # the window has the same weight here
    assert model.choose(scores, boxes).tolist() == [0.5, 0.5, 0.9, 0.1]


def test_the_window_prefers_the_middle_to_a_somewhat_higher_score_at_the_border() -> None:
    model = Function(FOLDER).model
    scores, boxes = _one_box(0.5, 0.5, 0.9, 0.1)
    scores[0] = 1.0
    scores[15 * 32 + 16] = 0.1
    assert model.choose(scores, boxes).tolist() == [0.5, 0.5, 0.9, 0.1]
    scores[15 * 32 + 16] = 0.0  # 0.51 at the border against 0.49 times the window's 0.995
    assert model.choose(scores, boxes).tolist() == [0.25] * 4


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "'shapes' and 'states' are empty"),
        ({"shapes": "x"}, "'shapes' is not a list"),
        ({"shapes": [{"type": "polygon", "points": [1, 2]}]}, "'shapes[0]' is of type 'polygon'"),
        ({"shapes": [[1, 2, 3]]}, "'shapes[0]' is not a list of 4 numbers"),
        ({"shapes": [None]}, "'shapes[0]' is empty and has no state"),
        ({"shapes": [[1, 2, 3, 10**400]]}, "'shapes[0]' holds a number that is not a coordinate"),
        ({"shapes": [[5, 5, 5, 5]]}, "'shapes[0]' is less than 1 px"),
        ({"shapes": [[400, 10, 450, 60]]}, "'shapes[0]' lies outside the image"),
        ({"shapes": [[10, -60, 60, 0]]}, "'shapes[0]' lies outside the image"),
        ({"states": ["gASVIwAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOU"]}, "'states[0]' is not a state"),
        ({"states": [{"version": 1, "template": {}}]}, "'states[0].template' has no data"),
    ],
)
def test_bad_input_is_a_sentence(function: Function, body: dict[str, Any], words: str) -> None:
    status, answer = function.invoke({"image": encoded(PICTURE), **body})
    assert status == 400
    assert words in answer["error"]


def test_bare_numbers_are_taken_as_a_rectangle(function: Function) -> None:
    body = {"image": encoded(PICTURE), "shapes": [SHAPE["points"]]}
    assert function.invoke(body)[1]["shapes"] == [SHAPE]


def test_corners_may_come_in_any_order(function: Function) -> None:
    x0, y0, x1, y1 = SHAPE["points"]
    for points in ([x1, y1, x0, y0], [x0, y1, x1, y0]):
        body = {"image": encoded(PICTURE), "shapes": [{**SHAPE, "points": points}]}
        assert function.invoke(body)[1]["shapes"] == [SHAPE]


def test_the_specification_offers_rectangles() -> None:
    annotations = Function(FOLDER).spec()["metadata"]["annotations"]
    assert annotations["supported_shape_types"] == "rectangle"
