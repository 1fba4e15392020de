"""``new yolo``: each layout of the family, from an ONNX file of known answers to items."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User
from PIL import Image
from pytest_django import Settings

from cvat_lambda.runtime.cli import main
from tests.integration.new_models.conftest import (
    MakeGraphs,
    app_of,
    found_by_request,
    picture,
    run_cli,
)
from tests.integration.runtime.harness import Runtime

SIDE = 64  # of the networks' input, pixels
CELLS = 84  # candidates of YOLOv8 at that side: 8² + 4² + 2²
ULTRALYTICS = {"stride": "32", "imgsz": f"[{SIDE}, {SIDE}]", "batch": "1"}
NAMES = {"names": "{0: 'cat', 1: 'dog'}"}
IMAGE = [1, 3, SIDE, SIDE]
# Two candidates for one dog, centre (32, 32), 20 x 10 pixels, and a faint cat.
DOG, SAME_DOG, CAT = [32, 32, 20, 10], [33, 32, 20, 10], [10, 30, 4, 4]


def by_channel(rows: list[list[float]]) -> list[Any]:
    """Return the output of YOLOv8 with the given candidates; the others have a score of 0."""
    table = np.zeros((CELLS, len(rows[0])))
    table[: len(rows)] = rows
    return [table.T.tolist()]


def padded(rows: list[list[float]], count: int = 300) -> list[Any]:
    """Return a table of candidates with zeros below."""
    table = np.zeros((count, len(rows[0])))
    table[: len(rows)] = rows
    return [table.tolist()]


def as_box(item: dict[str, Any]) -> tuple[Any, ...]:
    """Return label, confidence and points of a rectangle."""
    return (item["label"], item["confidence"], item["points"])


CORNERS = [22, 27, 42, 37]  # of DOG
TWO = [[*DOG, 0.1, 0.75], [*SAME_DOG, 0.1, 0.5], [*CAT, 0.3, 0.2]]
EXPECTED = [("dog", 0.75, CORNERS), ("cat", 0.3, [8, 28, 12, 32])]
OBJECTNESS = [[*DOG, 0.75, 0.1, 1], [*SAME_DOG, 0.5, 0.1, 1], [*CAT, 0.6, 0.5, 0.1]]
# Maps of 16 x 16: the first is positive on the left half, the second everywhere.
LEFT = [[4 if column < 8 else -4 for column in range(16)] for _ in range(16)]
MAPS = [[LEFT, [[1] * 16] * 16]]
# A map that is positive in rows 4 to 11, and strongly negative in the padding above and below.
MIDDLE = [[1 if 4 <= row < 12 else -9] * 16 for row in range(16)]
POSE = [22, 27, 0.9, 42, 37, 0.2]  # two points; the second one is not visible
V8 = {**ULTRALYTICS, **NAMES, "task": "detect"}
ODD_SIZE = {"imgsz": "[40, 60]", "stride": "[8, 16, 32]"}

# Name -> task, metadata, outputs. The task is given only where the file does not state it.
GRAPHS: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "yolo-v8": ("detect", V8, {"output0": by_channel(TWO)}),
    "yolo-v5": ("detect", {"stride": "32", **NAMES}, {"output0": padded(OBJECTNESS, 3 * CELLS)}),
    "yolo-v10": (
        "detect",
        V8,
        {"output0": padded([[*CORNERS, 0.75, 1], [8, 28, 12, 32, 0.3, 0]])},
    ),
    "yolo-v7": (
        "detect",
        NAMES,
        {"output": [[0, *CORNERS, 1, 0.75], [0, 8, 28, 12, 32, 0, 0.3]]},
    ),
    "yolo-segment": (
        "segment",
        {**V8, "task": "segment"},
        {"output0": by_channel([[*DOG, 0.1, 0.75, 1, 0]]), "output1": MAPS},
    ),
    "yolo-segment-high": (
        "segment",
        {**V8, "task": "segment"},
        {"output0": by_channel([[32, 32, 20, 64, 0.1, 0.75, 1]]), "output1": [[MIDDLE]]},
    ),
    "yolo-segment-26": (
        "segment",
        {**V8, "task": "segment"},
        {"output0": padded([[*CORNERS, 0.75, 1, 0, 1]]), "output1": MAPS},
    ),
    "yolo-pose": (
        "pose",
        {**V8, "task": "pose", "kpt_shape": "[2, 3]", "kpt_names": "{0: ['nose', 'tail']}"},
        {"output0": by_channel([[*DOG, 0.1, 0.75, *POSE]])},
    ),
    "yolo-pose-26": (
        "pose",
        {**V8, "task": "pose", "kpt_shape": "[2, 3]"},
        {"output0": padded([[*CORNERS, 0.75, 1, *POSE]])},
    ),
    "yolo-obb": (
        "obb",
        {**V8, "task": "obb"},
        {"output0": by_channel([[*DOG, 0.1, 0.75, np.pi / 6], [*DOG, 0.1, 0.7, np.pi / 6 + 0.01]])},
    ),
    "yolo-obb-26": (
        "obb",
        {**V8, "task": "obb"},
        {"output0": padded([[*DOG, 0.75, 1, -np.pi / 6]])},
    ),
    "yolo-classify": ("classify", {**V8, "task": "classify"}, {"output0": [[0.25, 0.75]]}),
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, make_graphs: MakeGraphs) -> Path:
    """A folder with the ONNX file of each entry of GRAPHS, and two whose input has any size."""
    folder = tmp_path_factory.mktemp("weights")
    descriptions = [
        {"path": str(folder / f"{name}.onnx"), "input": IMAGE, "metadata": meta, "outputs": tables}
        for name, (_, meta, tables) in GRAPHS.items()
    ]
    batch: dict[str, Any] = {**descriptions[0], "path": str(folder / "yolo-batch.onnx")}
    batch["input"] = ["batch", 3, "height", "width"]
    # The exporter's size is no multiple of the stride.
    odd = {**batch, "path": str(folder / "yolo-odd-size.onnx"), "metadata": {**V8, **ODD_SIZE}}
    make_graphs([*descriptions, batch, odd])
    return folder


@pytest.fixture(scope="module")
def yolos(weights: Path, served: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """A runtime with a function for each file."""
    folder = tmp_path_factory.mktemp("functions")
    for name in [*GRAPHS, "yolo-batch", "yolo-odd-size"]:
        run_cli("new", "yolo", name, "--weights", weights / f"{name}.onnx", "--into", folder)
    run_cli("deploy", folder, "--url", served.url)
    return served


def items_of(runtime: Runtime, name: str, **body: Any) -> Any:
    """Call a function with a white image, or what is given, and return its answer."""
    answer = runtime.call(name, {"image": picture(SIDE, SIDE), **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("name", ["yolo-v8", "yolo-v5", "yolo-v10", "yolo-v7", "yolo-batch"])
def test_boxes_of_each_layout_are_the_known_ones(yolos: Runtime, name: str) -> None:
    assert [as_box(item) for item in items_of(yolos, name)] == EXPECTED


def test_size_of_a_network_that_takes_any_is_rounded_up_to_its_stride(yolos: Runtime) -> None:
    # The file states 40 x 60 pixels, and a stride of 32: the network is given 64 x 64.
    assert [as_box(item) for item in items_of(yolos, "yolo-odd-size")] == EXPECTED


@pytest.mark.parametrize("threshold", [None, 0.31, 0, 1])
def test_a_missing_threshold_is_the_default_and_others_are_obeyed(
    yolos: Runtime, threshold: float | None
) -> None:
    found = items_of(yolos, "yolo-v8", threshold=threshold)
    assert len(found) == {None: 2, 0.31: 1, 0: 2, 1: 0}[threshold]


def test_boxes_are_mapped_from_the_letterbox_to_a_wide_image(yolos: Runtime) -> None:
    # Twice as wide as high: scaled by 1/2, with 16 rows of padding above.
    (dog, cat) = items_of(yolos, "yolo-v8", image=picture(128, 64))
    assert as_box(dog) == ("dog", 0.75, [44, 22, 84, 42])
    assert as_box(cat) == ("cat", 0.3, [16, 24, 24, 32])


def test_boxes_are_mapped_by_the_scale_of_each_side_of_a_thin_image(yolos: Runtime) -> None:
    # Scaled to 64 x 22, with 21 rows of padding above: by 1/2 across, and by 22/43 down.
    dog = items_of(yolos, "yolo-v8", image=picture(128, 43))[0]
    across, down = 1 / 2, 22 / 43
    assert dog["points"] == pytest.approx(
        [22 / across, (27 - 21) / down, 42 / across, (37 - 21) / down], abs=0.006
    )


def test_the_answer_depends_on_the_image(yolos: Runtime) -> None:
    # The network multiplies all numbers by the brightness, 204 / 255.
    (dog,) = items_of(yolos, "yolo-v8", image=picture(SIDE, SIDE, 204))
    assert as_box(dog) == ("dog", 0.6, [pytest.approx(value * 0.8, abs=0.01) for value in CORNERS])


@pytest.mark.parametrize("name", ["yolo-v8", "yolo-batch"])
def test_images_of_a_batch_are_answered_in_their_order(yolos: Runtime, name: str) -> None:
    images = [picture(SIDE, SIDE), "!", picture(SIDE, SIDE, 204)]
    answer = yolos.call(name, {"images": images}).json()
    first, bad, third = answer["results"]
    assert [item["confidence"] for item in first] == [0.75, 0.3]
    assert "images[1]" in bad["error"]
    assert [item["confidence"] for item in third] == [0.6]


def test_a_mask_is_the_part_of_the_box_where_the_weighted_maps_are_positive(
    yolos: Runtime,
) -> None:
    (item,) = items_of(yolos, "yolo-segment")
    *bitmap, left, top, right, bottom = item["mask"]
    # The left half of the image inside the box 22, 27, 42, 37.
    assert (left, top, right, bottom) == (22, 27, 31, 36)
    assert bitmap == [1] * 100
    assert (item["label"], item["type"], item["confidence"]) == ("dog", "mask", 0.75)
    assert len(item["points"]) >= 6


def test_a_mask_of_a_suppressed_output_fills_its_box_in_a_wide_image(yolos: Runtime) -> None:
    (item,) = items_of(yolos, "yolo-segment-26", image=picture(128, 64))
    assert item["mask"][-4:] == [44, 22, 83, 41]
    assert set(item["mask"][:-4]) == {1}


def test_a_mask_reaches_the_border_of_the_image_beside_the_padding(yolos: Runtime) -> None:
    (item,) = items_of(yolos, "yolo-segment-high", image=picture(128, 64))
    assert item["mask"][-4:] == [44, 0, 83, 63]
    assert set(item["mask"][:-4]) == {1}


@pytest.mark.parametrize(
    ("name", "points"), [("yolo-pose", ["nose", "tail"]), ("yolo-pose-26", ["1", "2"])]
)
def test_a_pose_is_a_skeleton_whose_faint_points_are_outside(
    yolos: Runtime, name: str, points: list[str]
) -> None:
    (item,) = items_of(yolos, name, image=picture(128, 128))
    assert (item["label"], item["type"], item["confidence"]) == ("dog", "skeleton", 0.75)
    found = [(each["label"], each["points"], each["outside"]) for each in item["elements"]]
    assert found == [(points[0], [44, 54], 0), (points[1], [84, 74], 1)]


@pytest.mark.parametrize(("name", "degrees"), [("yolo-obb", 30), ("yolo-obb-26", 330)])
def test_a_rotated_box_has_the_rotation_of_cvat(yolos: Runtime, name: str, degrees: float) -> None:
    (item,) = items_of(yolos, name)
    assert as_box(item) == ("dog", 0.75, CORNERS)
    assert item["rotation"] == degrees


@pytest.mark.parametrize(("threshold", "labels"), [(0.7, ["dog"]), (0.8, [])])
def test_the_best_class_of_an_image_is_a_tag(
    yolos: Runtime, threshold: float, labels: list[str]
) -> None:
    found = items_of(yolos, "yolo-classify", threshold=threshold, image=picture(100, 70))
    assert [(item["type"], item["label"]) for item in found] == [("tag", each) for each in labels]


def test_a_request_writes_the_boxes_of_a_new_function_into_a_task(
    yolos: Runtime, transactional_db: None, clean_redis: str, settings: Settings, alice: User,
    tmp_path: Path,
) -> None:  # fmt: skip
    files = []
    for number, brightness in enumerate((255, 204)):
        files.append(tmp_path / f"{number}.png")
        Image.new("RGB", (128, 128), (brightness,) * 3).save(files[-1])
    with app_of(yolos, settings):
        found = found_by_request(alice, "yolo-v8", ["cat", "dog"], files)
    assert found == [
        (0, 0.3, [16, 56, 24, 64]),
        (0, 0.75, [44, 54, 84, 74]),
        (1, 0.6, [35.2, 43.2, 67.2, 59.2]),
    ]


def test_a_second_deploy_after_another_training_serves_the_new_classes(
    weights: Path, served: Runtime, tmp_path: Path
) -> None:
    def new(file: str, *options: str) -> None:
        words = ("new", "yolo", "pets", "--weights", weights / file, "--into", tmp_path)
        run_cli(*words, *options)
        run_cli("deploy", tmp_path, "--url", served.url)

    new("yolo-v8.onnx", "--labels", "animal,hound")
    assert [item["label"] for item in items_of(served, "pets")] == ["hound", "animal"]
    new("yolo-obb.onnx", "--update")
    assert [item["label"] for item in items_of(served, "pets")] == ["dog"]
    spec = served.function("pets")["metadata"]["annotations"]["spec"]
    assert [label["name"] for label in json.loads(spec)] == ["cat", "dog"]
    assert sorted(path.name for path in (tmp_path / "pets" / "weights").iterdir()) == [
        "yolo-obb.onnx"
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--labels", "a,b,c"], "the network has 2 classes, --labels has 3"),
        (["--labels", "a,a"], "two classes have the name 'a'"),
        (["--threshold", "2"], "--threshold must be from 0 to 1"),
        (["--sha256", "00"], "the weights have the SHA-256"),
    ],
)
def test_arguments_that_do_not_fit_the_file_are_refused_and_nothing_is_written(
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    sentence: str,
) -> None:
    command = ["new", "yolo", "bad", "--weights", str(weights / "yolo-v8.onnx")]
    assert main([*command, "--into", str(tmp_path), *words]) == 1
    assert sentence in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_network_whose_output_does_not_fit_the_task_names_the_possible_shapes(
    weights: Path, served: Runtime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("new", "yolo", "unfit", "--weights", weights / "yolo-v8.onnx", "--task", "obb")
    run_cli(*command, "--into", tmp_path)
    assert main(["deploy", str(tmp_path), "--url", served.url]) == 1
    error = capsys.readouterr().err
    assert "the network's output has the shape [1, 6, 84]" in error
