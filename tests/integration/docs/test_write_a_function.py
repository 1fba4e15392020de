"""Follow the pages about writing functions, then call these functions with photographs.

A child process serves the folders. The tests compare the answers with results of NumPy.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cvat_lambda.annotations.detections import Converted, convert_detections
from cvat_lambda.annotations.labels import parse_function_labels, with_ids
from cvat_lambda.annotations.mapping import build_mapping
from cvat_lambda.interactive.embeddings import check_embedding
from tests.conftest import IMAGES
from tests.integration.docs.page import REPOSITORY, Block, follow, read_blocks
from tests.integration.runtime.harness import Runtime, running

PAGE = "write-a-function.md"
NEXT_PAGES = ("write-interactors-and-trackers.md", "serve-an-sdk-function.md")
NATIVE = "dark-box"  # a function of CVAT's SDK: it has no main.py
WRITTEN = ["bright-masks", "bright-things", NATIVE, "follow-shift", "look-alike", "same-colour"]
LEVEL = 180

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Followed:
    """The pages, and the folder and output after its commands were run."""

    blocks: list[Block]
    folder: Path
    printed: list[str]  # the output of each block of commands


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    folder = tmp_path_factory.mktemp("page")
    (folder / "photo.png").write_bytes(_png(photograph("coffee")))
    *first, check_all, deploy_all = read_blocks(PAGE)
    blocks = [*first, *(block for name in NEXT_PAGES for block in read_blocks(name))]
    blocks += [check_all, deploy_all]
    return Followed(blocks=blocks, folder=folder, printed=follow(blocks, folder))


@pytest.fixture(scope="module")
def runtime(page: Followed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """A runtime that serves the folders of the page."""
    with running([page.folder / "functions"], tmp_path_factory.mktemp("state")) as found:
        for name in WRITTEN:
            found.wait_for_state(name, "ready")
        yield found


def photograph(name: str) -> Pixels:
    path = IMAGES / f"{name}.png"
    return np.asarray(Image.open(path).convert("RGB"))


def _png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def encoded(pixels: Pixels) -> str:
    return base64.b64encode(_png(pixels)).decode()


def box_of(mask: NDArray[np.bool_]) -> list[int]:
    """Return the bounds of the true pixels, including the last ones."""
    rows, columns = np.nonzero(mask)
    return [int(each) for each in (columns.min(), rows.min(), columns.max(), rows.max())]


def answer(runtime: Runtime, name: str, payload: dict[str, Any]) -> Any:
    told = runtime.call(name, payload)
    assert told.status_code == 200, told.text
    return told.json()


def test_first_detector_of_the_page_has_at_most_22_lines(page: Followed) -> None:
    code = (page.folder / "functions" / "bright-things" / "main.py").read_text()
    lines = [line for line in code.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 22
    assert {node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)} == {
        "init_context",
        "handler",
        "respond",
    }


@pytest.mark.parametrize("name", WRITTEN)
def test_each_function_of_the_page_passes_its_check(page: Followed, name: str) -> None:
    checked = page.printed[-2]
    assert f"{name}: passed\n" in checked
    assert "FAILED" not in checked
    assert "warning" not in checked


def test_command_of_the_page_invokes_the_served_detector(page: Followed) -> None:
    served = next(text for text in page.printed if "bright-things is ready at" in text)
    item = json.loads(next(line for line in served.splitlines() if line.startswith("[{")))[0]
    assert item["label"] == "bright"


def test_commands_of_the_page_deploy_each_folder_with_nuctl(page: Followed) -> None:
    asked = (page.folder / "nuctl.asked").read_text()
    deployed = re.findall(r"^deploy --path \S+/(\S+) .*--namespace nuclio .*", asked, re.MULTILINE)
    assert sorted(deployed) == WRITTEN
    assert asked.count("main.py") == len(WRITTEN) - 1


def test_first_detector_returns_the_box_of_the_bright_pixels(runtime: Runtime) -> None:
    coffee = photograph("coffee")
    bright = np.asarray(Image.fromarray(coffee).convert("L")) >= LEVEL
    left, top, right, bottom = box_of(bright)
    (item,) = answer(runtime, "bright-things", {"image": encoded(coffee), "threshold": None})
    assert item == {
        "label": "bright",
        "type": "rectangle",
        "points": [left, top, right + 1, bottom + 1],
        "confidence": pytest.approx(bright.mean()),
    }
    assert answer(runtime, "bright-things", {"image": encoded(coffee), "threshold": 1}) == []


def test_function_of_the_sdk_returns_the_box_of_the_dark_pixels(runtime: Runtime) -> None:
    coffee = photograph("coffee")
    dark = np.asarray(Image.fromarray(coffee).convert("L")) <= 40
    left, top, right, bottom = box_of(dark)
    (item,) = answer(runtime, NATIVE, {"image": encoded(coffee)})
    assert item == {
        "label": "dark",
        "type": "rectangle",
        "points": [left, top, right + 1, bottom + 1],
    }


def test_mask_detector_returns_masks_with_attributes_that_the_app_converts(
    runtime: Runtime, page: Followed
) -> None:
    astronaut = photograph("astronaut")
    grey = astronaut.mean(axis=2)
    bright = grey >= LEVEL
    left, top, right, bottom = box_of(bright)
    (item,) = answer(runtime, "bright-masks", {"image": encoded(astronaut)})
    bitmap = np.array(item["mask"][:-4]).reshape(bottom - top + 1, right - left + 1)
    assert item["mask"][-4:] == [left, top, right, bottom]
    assert (bitmap == bright[top : bottom + 1, left : right + 1]).all()
    assert item["attributes"] == [
        {"name": "size", "value": "large"},
        {"name": "brightness", "value": str(int(grey[bright].mean()))},
    ]
    spec = runtime.function("bright-masks")["metadata"]["annotations"]["spec"]
    converted = _convert([item], spec, size=(astronaut.shape[1], astronaut.shape[0]))
    assert [shape.type for shape in converted.data.shapes] == ["mask"]
    assert len(converted.data.shapes[0].attributes) == 2
    assert converted.notes == ()


def test_batch_with_an_unreadable_picture_has_results_for_the_others(runtime: Runtime) -> None:
    coffee, cat = encoded(photograph("coffee")), encoded(photograph("chelsea"))
    alone = [answer(runtime, "bright-masks", {"image": image}) for image in (coffee, cat)]
    told = answer(runtime, "bright-masks", {"images": [coffee, "bm8gaW1hZ2U=", cat]})
    assert told["results"][0] == alone[0]
    assert told["results"][1] == {"error": "'images' is not a picture that can be decoded"}
    assert told["results"][2] == alone[1]


@pytest.mark.parametrize(
    ("name", "payload", "sentence"),
    [
        ("bright-things", {}, "send a picture: 'image', a file in base64"),
        ("bright-masks", {"image": "???"}, "'image' is not a picture that can be decoded"),
        ("bright-masks", {"images": []}, "'images' must be a list of 1 to 8 pictures"),
        ("same-colour", {"pos_points": [[1, 1]]}, "the call has no 'image'"),
        ("same-colour", {"embedding": {"version": "0"}}, "is of another version: send the image"),
        ("same-colour", {"embedding": {"version": "1"}}, "cannot be read: send the image"),
    ],
)
def test_invalid_call_of_a_function_answers_400_with_a_sentence(
    runtime: Runtime, name: str, payload: dict[str, Any], sentence: str
) -> None:
    told = runtime.call(name, payload)
    assert told.status_code == 400
    assert sentence in told.json()["error"]


def test_click_selects_the_region_of_similar_colour(runtime: Runtime) -> None:
    coffee = photograph("coffee")
    x, y = 300, 200
    told = answer(
        runtime, "same-colour", {"image": encoded(coffee), "pos_points": [[x, y]], "neg_points": []}
    )
    left, top, right, bottom = told["bounds"]
    mask = np.array(told["mask"])
    assert mask.shape == (bottom - top + 1, right - left + 1)
    assert set(np.unique(mask)) == {0, 255}
    assert mask[y - top, x - left] == 255
    whole = np.zeros(coffee.shape[:2], dtype=bool)
    whole[top : bottom + 1, left : right + 1] = mask > 0
    apart = np.abs(coffee.astype(int) - coffee[y, x].astype(int)).sum(axis=2)
    assert apart[whole].mean() < 40 < apart[~whole].mean()


def test_click_with_an_embedding_answers_like_one_with_the_picture(runtime: Runtime) -> None:
    points = {"pos_points": [[300, 200]], "neg_points": [[20, 20]]}
    first = answer(
        runtime,
        "same-colour",
        {"image": encoded(photograph("coffee")), **points, "want": "embedding"},
    )
    embedding = first.pop("embedding")
    assert check_embedding(embedding) is None
    assert embedding["image_size"] == [400, 600]
    assert answer(runtime, "same-colour", {"embedding": embedding, **points}) == first


def test_click_that_finds_nothing_returns_an_empty_mask(runtime: Runtime) -> None:
    point = [[300, 200]]
    payload = {"image": encoded(photograph("coffee")), "pos_points": point, "neg_points": point}
    assert answer(runtime, "same-colour", payload) == {
        "mask": [[0]],
        "bounds": [0, 0, 0, 0],
        "points": [],
    }


def test_tracker_follows_boxes_with_the_states_of_its_answers(runtime: Runtime) -> None:
    coffee = photograph("coffee")
    corners = [(40, 30), (35, 32), (28, 29), (20, 20)]  # a camera pans over the picture
    frames = [encoded(coffee[y : y + 320, x : x + 480]) for x, y in corners]
    boxes = [[200, 100, 280, 190], [90, 210, 150, 260]]
    shapes: list[Any] = [{"type": "rectangle", "points": box} for box in boxes]
    told = answer(runtime, "follow-shift", {"image": frames[0], "shapes": shapes, "states": []})
    for (x, y), frame in zip(corners[1:], frames[1:], strict=True):
        states = json.loads(json.dumps(told["states"]))
        payload = {"image": frame, "shapes": [None, None], "states": states}
        told = answer(runtime, "follow-shift", payload)
        moved = np.tile([corners[0][0] - x, corners[0][1] - y], 2)
        assert [shape["points"] for shape in told["shapes"]] == (boxes + moved).tolist()
    assert len(json.dumps(told["states"])) < 32_000


def test_reid_function_matches_boxes_in_another_order(runtime: Runtime) -> None:
    coffee = photograph("coffee")
    payload = {
        "image0": encoded(coffee),
        "image1": encoded(np.ascontiguousarray(coffee[:, 10:])),
        "boxes0": _boxes([150, 90, 250, 200], [400, 100, 480, 300], [20, 300, 90, 380]),
        "boxes1": _boxes([390, 100, 470, 300], [140, 90, 240, 200]),
        "threshold": 0.2,
        "max_distance": 60,
    }
    assert answer(runtime, "look-alike", payload) == [1, 0, -1]
    assert answer(runtime, "look-alike", {**payload, "max_distance": 5}) == [-1, -1, -1]


def test_items_shown_on_the_page_are_converted_without_notes(page: Followed) -> None:
    shown = [json.loads(block.text) for block in page.blocks if block.language == "json"]
    (items,) = [each for each in shown if isinstance(each, list)]
    labels = {item["label"]: _label_of(item) for item in items}
    labels["car"]["type"] = "any"  # the page shows a rectangle and a polygon of it
    converted = _convert(items, json.dumps(list(labels.values())), size=(200, 100))
    assert converted.notes == ()
    assert converted.dropped == 0
    assert {shape.type for shape in converted.data.shapes} | {"tag"} == {
        item["type"] for item in items
    }


def test_every_annotation_in_the_table_of_the_page_is_read_by_the_app(page: Followed) -> None:
    text = (REPOSITORY / "docs" / PAGE).read_text(encoding="utf-8")
    rows = re.findall(r"^\| `annotations\.(.*?) \|", text, re.MULTILINE)
    names = {name for row in rows for name in re.findall(r"\w+", row)}
    reader = (REPOSITORY / "cvat_lambda" / "functions" / "metadata.py").read_text(encoding="utf-8")
    assert len(names) >= 12
    assert [name for name in sorted(names) if f'"{name}"' not in reader] == []


def _label_of(item: dict[str, Any]) -> dict[str, Any]:
    """Return the label of a spec that fits an item."""
    label = {"name": item["label"], "type": item["type"], "attributes": []}
    if "elements" in item:
        label |= {
            "sublabels": [_label_of(each) for each in item["elements"]],
            "svg": "<circle cx='50' cy='30' />",
        }
    return label


def _boxes(*boxes: list[float]) -> list[dict[str, Any]]:
    return [{"type": "rectangle", "points": box} for box in boxes]


def _convert(items: list[Any], spec: str, *, size: tuple[int, int]) -> Converted:
    """Convert items for a task with the labels of the function."""
    labels = parse_function_labels(spec)
    mapping = build_mapping(None, labels, with_ids(labels, count(1)))
    return convert_detections(items, mapping=mapping, frame=0, image_size=size)
