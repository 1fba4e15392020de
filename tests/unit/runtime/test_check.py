"""The checks of a function: lint of its folder, and validation of its answers."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cvat_lambda.runtime.check import fixtures
from cvat_lambda.runtime.check.answers import (
    clip_problems,
    detector_problems,
    interactor_problems,
    read_strictly,
    reid_problems,
    tracker_problems,
)
from cvat_lambda.runtime.check.lint import lint
from cvat_lambda.runtime.spec.function_file import parse_function, read_document

LABELS = {"cat": "any", "dog": "mask", "pose": "skeleton"}
GOOD_CODE = """
import json
def handler(context, event):
    def helper():
        return [1]
    return context.Response(body=json.dumps(helper()), content_type="application/json")
"""


def item(**changes: Any) -> dict[str, Any]:
    return {"label": "cat", "type": "rectangle", "points": [0, 0, 5, 5], **changes}


@pytest.mark.parametrize(
    "answer",
    [
        [],
        [item()],
        [item(confidence="0.5")],  # some of CVAT's functions send text
        [item(type="polygon", points=[0, 0, 1, 0, 1, 1.5])],
        [item(type="mask", mask=[0, 1, 1, 0, 0, 0, 1, 1])],
        [{"label": "cat", "type": "tag"}],
        [item(label="dog", type="polygon", points=[0, 0, 1, 0, 1, 1.5])],
        [{"label": "pose", "type": "skeleton", "elements": [item(type="points", points=[1, 2])]}],
    ],
)
def test_valid_answer_of_a_detector_has_no_problems(answer: object) -> None:
    assert list(detector_problems(answer, LABELS)) == []


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({}, "answers with a list of items, this is an object"),
        ([1], "item 0 is a number"),
        ([item(label="cow")], "label 'cow' is not among"),
        ([item(type="box")], "type 'box' is not a type of shape"),
        ([item(points=[[0, 0], [5, 5]])], "'points' must be a flat list"),
        ([item(points=[0, 0, 5])], "a rectangle cannot have 3 coordinates"),
        ([item(type="polygon", points=[0, 0, 1, 1])], "a polygon cannot have 4 coordinates"),
        ([item(points=[0, 0, 5, True])], "'points' must be a flat list"),
        ([item(label="dog", type="rectangle")], "type 'rectangle' does not fit label 'dog'"),
        ([item(confidence=1.5)], "confidence 1.5 must be"),
        ([item(type="mask", mask=[0, 1, 1, 0, 0, 2, 1])], "'mask' has 3 pixels for a box of 6"),
        ([item(type="mask", mask=[0, 1, 2, 1, 0, 0, 1, 1])], "'mask' must hold two values"),
        ([item(type="skeleton")], "a skeleton needs the list 'elements'"),
    ],
)
def test_invalid_answer_of_a_detector_is_described(answer: object, problem: str) -> None:
    assert problem in " / ".join(detector_problems(answer, LABELS))


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"mask": [[0, 255], [0, 0]]}, ""),
        ({"mask": [[255]], "bounds": [1, 1, 1, 1]}, ""),
        ({"mask": [], "points": []}, ""),
        ({"blob": "..."}, ""),
        ({"embedding": {}}, ""),
        # A mask is checked even if the answer has a blob or an embedding.
        ({"blob": "...", "mask": [[0, 255], [0, 0]]}, ""),
        ({"blob": "...", "mask": [[0, 128], [255, 0]]}, "two values"),
        ({"embedding": {}, "mask": [[0, 1]]}, "does not fill its bounds"),
        ({"blob": "...", "mask": None}, "needs 'mask'"),
        ([[1, 2]], "answers with an object"),
        ({"points": []}, "needs 'mask'"),
        ({"mask": [[0, 1], [0]]}, "rows of one length"),
        ({"mask": [[0, 1]]}, "does not fill its bounds"),
        ({"mask": [[0, 128], [255, 0]]}, "two values"),
        ({"mask": [[1]], "bounds": [0, 0]}, "'bounds' must be"),
    ],
)
def test_invalid_answer_of_an_interactor_is_described(answer: object, problem: str) -> None:
    found = " / ".join(interactor_problems(answer, 2, 2))
    assert problem in found
    assert bool(problem) == bool(found)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"shapes": [{"type": "rectangle", "points": [1, 2, 3, 4]}], "states": [{}]}, ""),
        ({"shapes": [None], "states": [None]}, ""),
        ({"shapes": [[1, 2, 3, 4]], "states": [{}]}, ""),  # the format of CVAT's tracker functions
        ([], "answers with an object"),
        ({"shapes": [None]}, "needs the list 'states'"),
        ({"shapes": [], "states": [{}]}, "'shapes' has 0 items for 1 objects"),
        ({"shapes": [{"points": "x"}], "states": [{}]}, "shape 0 must be null"),
    ],
)
def test_invalid_answer_of_a_tracker_is_described(answer: object, problem: str) -> None:
    found = " / ".join(tracker_problems(answer, 1))
    assert problem in found
    assert bool(problem) == bool(found)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"results": [[[1, 2, 3, 4]], [None]], "states": [{}]}, ""),
        ([], "answers with an object"),
        ({"results": [[None]], "states": [{}]}, "needs 'results', a list of 2"),
        ({"results": [[None], {"error": "dark"}], "states": [{}]}, "image 1 was not used: dark"),
        ({"results": [[None], []], "states": [{}]}, "image 1: 'shapes' has 0 items for 1 objects"),
        ({"results": [[None], [None]]}, "needs the list 'states'"),
    ],
)
def test_invalid_answer_of_a_tracker_to_a_clip_is_described(answer: object, problem: str) -> None:
    found = " / ".join(clip_problems(answer, 1, 2))
    assert problem in found
    assert bool(found) == bool(problem)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ([0, -1], ""),
        ([0], "1 numbers for 2 boxes"),
        ([0, 2], "the index of one of the 2 boxes"),
        ([1, 1], "one box to two boxes"),
        ([0, 1.0], "whole numbers"),
        ([0, True], "whole numbers"),
    ],
)
def test_invalid_answer_of_a_reid_function_is_described(answer: object, problem: str) -> None:
    found = " / ".join(reid_problems(answer, 2, 2))
    assert problem in found
    assert bool(problem) == bool(found)


@pytest.mark.parametrize("text", [b"[NaN]", b"[Infinity]", b"None", b""])
def test_text_that_is_not_strict_json_raises_an_error(text: bytes) -> None:
    with pytest.raises(ValueError):
        read_strictly(text)


def test_sample_image_is_a_png_with_the_disc_at_its_position() -> None:
    data = fixtures.png(fixtures.WIDTH, fixtures.HEIGHT, 0)
    head = struct.unpack("!II", data[16:24])
    rows = zlib.decompress(data[data.index(b"IDAT") + 4 : -16])
    stride = fixtures.WIDTH * 3 + 1
    left, top, right, bottom = (int(value) for value in fixtures.disc_box())
    centre = rows[(top + bottom) // 2 * stride + 1 + (left + right) // 2 * 3 :][:3]
    assert (head, centre) == ((fixtures.WIDTH, fixtures.HEIGHT), bytes((230, 200, 60)))


# --- lint ----------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "one"
    path.mkdir()
    return path


def findings(
    folder: Path, code: str = GOOD_CODE, spec: dict[str, Any] | None = None, **metadata: Any
) -> Iterator[tuple[bool, str]]:
    attributes = {"maxRequestBodySize": 1000}
    http = {"kind": "http", "numWorkers": 1, "maxWorkers": 1, "attributes": attributes}
    labels = json.dumps([{"name": "cat", "type": "rectangle"}])
    document = {
        "metadata": {
            "name": "one",
            "annotations": {"type": "detector", "spec": labels},
            **metadata,
        },
        "spec": {
            "description": "x",
            "handler": "main:handler",
            "triggers": {"http": http},
            **(spec or {}),
        },
    }
    (folder / "function.yaml").write_text(yaml.safe_dump(document))
    (folder / "main.py").write_text(code)
    config = parse_function(read_document(folder / "function.yaml"), folder)
    yield from ((finding.severe, finding.text) for finding in lint(config))


def test_valid_folder_has_no_findings(folder: Path) -> None:
    assert list(findings(folder)) == []


@pytest.mark.parametrize(
    ("code", "severe", "text"),
    [
        ("def handler(c, e):\n    return [1]\n", True, "line 2: the handler returns a list"),
        ("def handler(c, e):\n    return None\n", True, "line 2: the handler returns None"),
        ("def handler(c, e):\n    return\n", True, "line 2: the handler returns None"),
        ("def handler(c, e):\n    pass\n", True, "the handler returns nothing"),
        ("async def handler(c, e):\n    return [x for x in e]\n", True, "returns a list"),
        ("def handler(c, e):\n    return c.Response(body=[1])\n", True, "sent as Python's repr"),
        ("x = 1\n", True, "main.py has no 'handler'"),
        ("def (\n", True, "main.py is not valid Python"),
        (GOOD_CODE + "P = '/home/me/model.onnx'\n", False, "absolute path outside /opt/nuclio"),
    ],
)
def test_lint_reports_code_that_fails_in_nuclio(
    folder: Path, code: str, severe: bool, text: str
) -> None:
    assert any(text in found and severe is hard for hard, found in findings(folder, code))


@pytest.mark.parametrize(
    ("spec", "severe", "text"),
    [
        ({"description": ""}, True, "spec.description is missing"),
        ({"handler": "other:handler"}, True, "there is no other.py"),
        (
            {"build": {"commands": ["a"], "directives": {"preCopy": []}}},
            True,
            "ignores the directives",
        ),
        ({"triggers": {"http": {"kind": "http"}}}, False, "4 MiB is all it takes"),
        ({"triggers": {"http": {"kind": "http"}}}, False, "both numWorkers and maxWorkers"),
        (
            {"triggers": {"http": {"kind": "http", "batch": {"mode": "enable"}}}},
            True,
            "Nuclio's batches lose calls",
        ),
        (
            {"triggers": {"http": {"kind": "http", "mode": "async"}}},
            False,
            "http.mode: only Nuclio 1.15 knows it",
        ),
    ],
)
def test_lint_reports_a_spec_that_fails_in_nuclio(
    folder: Path, spec: dict[str, Any], severe: bool, text: str
) -> None:
    found = list(findings(folder, spec=spec))
    assert any(text in told and severe is hard for hard, told in found), found


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ({"name": "One_Two"}, "is not a DNS label"),
        ({"annotations": {"type": "classifier"}}, "metadata.annotations.type is 'classifier'"),
        ({"annotations": {"type": "detector", "spec": "{"}}, "spec is not JSON"),
        ({"annotations": {"type": "detector", "spec": "[{}]"}}, "a list of labels with names"),
        ({"annotations": {"type": "interactor"}}, "CVAT disables interactors below 2"),
        ({"annotations": {"type": "tracker"}}, "supported_shape_types is missing"),
        ({"annotations": {"type": "tracker", "max_frames": "many"}}, "max_frames must be a whole"),
        ({"annotations": {"type": "reid", "version": [2]}}, "version must be text"),
    ],
)
def test_lint_reports_metadata_that_fails_in_cvat(
    folder: Path, metadata: dict[str, Any], text: str
) -> None:
    found = [told for _, told in findings(folder, **metadata)]
    assert any(text in told for told in found), found


@pytest.mark.parametrize(
    ("runs", "problem"),
    [
        ([1, 2, 1, 4, 2, 5, 3], None),
        ([0, 4, 4, 2, 5, 3], None),
        ([1, 2, 4, 2, 5, 3], "'rle' has 3 pixels for a box of 4 (both ends are inside)"),
        ([-1, 5, 4, 2, 5, 3], "'rle' has 4 pixels for a box of 4 (both ends are inside)"),
        ([4, 0, 0, 1], "'rle' must be run lengths, zeros first, then the box's four coordinates"),
        (["a"] * 5, "'rle' must be run lengths, zeros first, then the box's four coordinates"),
    ],
)
def test_run_lengths_are_checked_in_an_answer_to_a_binary_body(
    runs: list[object], problem: str | None
) -> None:
    mask = {"label": "dog", "type": "mask", "rle": runs}
    found = list(detector_problems([mask], LABELS, binary=True))
    assert found == ([] if problem is None else [f"item 0: {problem}"])
    answer = {"rle": runs, "points": []}
    clicked = list(interactor_problems(answer, 320, 240, binary=True))
    assert clicked == ([] if problem is None else [problem])


def test_run_lengths_in_an_answer_to_json_are_refused() -> None:
    runs = [1, 2, 1, 4, 2, 5, 3]
    mask = {"label": "dog", "type": "mask", "rle": runs}
    assert any("'mask' must be" in each for each in detector_problems([mask], LABELS))
    assert any("needs 'mask'" in each for each in interactor_problems({"rle": runs}, 320, 240))
