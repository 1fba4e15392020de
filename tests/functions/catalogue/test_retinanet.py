"""RetinaNet R101: official names, agreement with Detectron2, and the handler's answers."""

from __future__ import annotations

import json
import pickle
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

torch = pytest.importorskip("torch", reason="RetinaNet needs PyTorch")
from tests.functions.catalogue.stand_ins import checkpoints  # noqa: E402

pytestmark = pytest.mark.models

FOLDER = "pytorch/facebookresearch/retinanet_r101"
EXPECTED = fixture("retinanet_r101.outputs.json")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.make_retinanet(tmp_path_factory.mktemp("retinanet") / "model_final.pkl")


@pytest.fixture(scope="module")
def function(checkpoint: Path) -> Function:
    """Return the function, started with that checkpoint."""
    loaded = Function(FOLDER)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MODEL_PATH", str(checkpoint))
        loaded.start()
    return loaded


@pytest.fixture
def small(function: Function, monkeypatch: pytest.MonkeyPatch) -> Function:
    """Return the function with the input sizes of the fixture instead of 800 and 1333 pixels."""
    monkeypatch.setattr(function.model, "SHORT_SIDE", 160)
    monkeypatch.setattr(function.model, "LONG_SIDE", 240)
    return function


def test_the_log_says_what_it_runs_on(function: Function) -> None:
    [line] = function.logged
    assert re.fullmatch(r"The model runs on (cpu in float32|cuda.* in float16)", line)


def test_the_network_has_exactly_the_official_names_and_shapes() -> None:
    with torch.device("meta"):
        network = Function(FOLDER).network.RetinaNet()
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes == official_shapes("retinanet_r101.shapes.json")


def test_levels_equal_detectron2s(small: Function) -> None:
    prepared = small.model.prepare(random_picture(120, 176, seed=1))
    levels = small.context.user_data.model.run([prepared.pixels])
    for (logits, deltas, anchors), expected in zip(levels, EXPECTED["levels"], strict=True):
        np.testing.assert_allclose(samples(logits.numpy()), expected["logits"], atol=1e-4)
        np.testing.assert_allclose(samples(deltas.numpy()), expected["deltas"], atol=1e-4)
        np.testing.assert_allclose(samples(anchors.numpy()), expected["anchors"], atol=1e-4)


def test_detections_equal_detectron2s(small: Function) -> None:
    [items] = small.context.user_data.model.detect([random_picture(120, 176, seed=1)], 0.05)
    labels = [small.model.LABELS[index] for index in EXPECTED["classes"]]
    assert [item["label"] for item in items] == labels
    np.testing.assert_allclose(
        [item["confidence"] for item in items], EXPECTED["scores"], atol=1e-4
    )
    np.testing.assert_allclose([item["points"] for item in items], EXPECTED["boxes"], atol=6e-3)


def test_half_precision_stays_near(small: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    detector, picture = small.context.user_data.model, random_picture(120, 176, seed=1)
    prepared = small.model.prepare(picture)
    monkeypatch.setenv("TORCH_PRECISION", "float32")
    levels = detector.run([prepared.pixels])
    monkeypatch.setenv("TORCH_PRECISION", "bfloat16")  # float16 takes minutes on a CPU
    half_levels = detector.run([prepared.pixels])
    for column in (0, 1):  # logits, deltas; of all levels, as some hardly vary within themselves
        half, whole = (
            np.concatenate([level[column].float().numpy().ravel() for level in each])
            for each in (half_levels, levels)
        )
        assert 0 < relative_error(half, whole) < 0.03
    for half_level, level in zip(half_levels, levels, strict=True):
        assert torch.equal(half_level[2], level[2])  # anchors are not computed by a product
    [items] = detector.detect([picture], 0.05)
    assert items[0]["confidence"] == pytest.approx(EXPECTED["scores"][0], abs=0.01)


def test_labels_are_those_of_the_specification() -> None:
    function = Function(FOLDER)
    assert [label["name"] for label in function.labels()] == list(function.model.LABELS)
    assert {label["type"] for label in function.labels()} == {"rectangle"}


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((640, 480), (1067, 800)),
        ((480, 640), (800, 1067)),
        ((2000, 500), (1333, 333)),  # the limit of the long side applies
        ((5, 5), (800, 800)),
        ((4000, 1), (1333, 1)),  # never zero pixels
    ],
)
def test_the_input_size_follows_detectron2s_rule(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert Function(FOLDER).model.scaled_size(*size) == expected


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.3, 0.9, 1.0])
def test_the_threshold_works_over_its_whole_range(small: Function, threshold: float) -> None:
    image = encoded(random_picture(120, 176, seed=1))
    status, items = small.invoke({"image": image, "threshold": threshold})
    assert status == 200
    assert all(item["confidence"] >= threshold - 5e-5 for item in items)
    at_least = [score for score in EXPECTED["scores"] if score >= max(threshold, 0.05)]
    assert len(items) >= len(at_least)


def test_a_threshold_of_null_is_the_default(small: Function) -> None:
    image = encoded(random_picture(120, 176, seed=1))
    _, items = small.invoke({"image": image, "threshold": None})
    assert items == small.invoke({"image": image, "threshold": 0.5})[1]
    assert items


def test_a_batch_answers_frames_of_two_sizes_in_order_and_names_the_bad_one(
    small: Function,
) -> None:
    first, second = random_picture(120, 176, seed=1), random_picture(90, 64, seed=2)
    frames = [encoded(first), "bm90IGFuIGltYWdl", encoded(second), encoded(first)]
    status, answer = small.invoke({"images": frames, "threshold": 0.3})
    assert status == 200
    alone = [small.invoke({"image": frames[place], "threshold": 0.3})[1] for place in (0, 2)]
    assert "images[1]" in answer["results"][1]["error"]
    for place, expected in ((0, alone[0]), (2, alone[1]), (3, alone[0])):
        got = answer["results"][place]
        assert [item["label"] for item in got] == [item["label"] for item in expected]
        points = [item["points"] for item in expected]
        np.testing.assert_allclose([item["points"] for item in got], points, atol=0.05)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "'image' is missing; send an image file in base64"),
        ({"image": "AAAA", "threshold": 2}, "'threshold' is 2; send a number from 0 to 1"),
        ({"images": []}, "'images' is not a list of images in base64"),
        ({"images": ["AAAA"] * 5}, "'images' has 5 entries; at most 4 fit a call"),
    ],
)
def test_bad_input_is_a_sentence(function: Function, body: dict[str, Any], sentence: str) -> None:
    assert function.invoke(body) == (400, {"error": sentence})


def test_a_checkpoint_of_another_network_is_refused_by_name(tmp_path: Path) -> None:
    weights = checkpoints.retinanet_weights()
    weights["extra"] = weights.pop("head.cls_score.bias")
    path = tmp_path / "wrong.pkl"
    path.write_bytes(pickle.dumps({"model": weights}))
    with pytest.raises(Exception, match=r"1 missing \(head\.cls_score\.bias\); 1 unexpected"):
        Function(FOLDER).model.load_network(path)


def test_the_answer_is_plain_json_numbers(small: Function) -> None:
    _, items = small.invoke({"image": encoded(random_picture(64, 64)), "threshold": 0})
    assert items
    assert {type(value) for item in items for value in item["points"]} <= {float, int}
    assert json.loads(json.dumps(items)) == items
