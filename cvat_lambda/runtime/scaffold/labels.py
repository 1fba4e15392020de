"""Labels of a ready function: from arguments, from the metadata of a network, of skeletons."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from cvat_lambda.runtime.errors import RuntimeFault

# COCO's keypoints: name, x, y in percent of the drawing.
_COCO_POINTS: Final = (
    *(("nose", 50, 10), ("left_eye", 53, 7), ("right_eye", 47, 7), ("left_ear", 57, 9)),
    *(("right_ear", 43, 9), ("left_shoulder", 64, 26), ("right_shoulder", 36, 26)),
    *(("left_elbow", 70, 42), ("right_elbow", 30, 42), ("left_wrist", 73, 57)),
    *(("right_wrist", 27, 57), ("left_hip", 58, 56), ("right_hip", 42, 56)),
    *(("left_knee", 60, 75), ("right_knee", 40, 75), ("left_ankle", 61, 94)),
    ("right_ankle", 39, 94),
)
# Pairs of numbers of points, from 1.
_COCO_EDGES: Final = (
    *((1, 2), (1, 3), (2, 4), (3, 5), (6, 7), (6, 8), (8, 10), (7, 9), (9, 11)),
    *((6, 12), (7, 13), (12, 13), (12, 14), (14, 16), (13, 15), (15, 17)),
)
COCO_KEYPOINTS: Final = tuple(name for name, _, _ in _COCO_POINTS)
_COLUMNS: Final = 5  # of points in the drawing of other skeletons


def read_labels(text: str) -> tuple[str, ...]:
    """Return labels from an argument: names separated by commas, or a file.

    A file is Ultralytics' ``data.yaml``, or has one name a line. Raise RuntimeFault.
    """
    path = Path(text)
    if path.suffix in (".yaml", ".yml", ".txt"):
        names = _labels_in_file(path)
    else:
        names = [name.strip() for name in text.split(",")]
    return check_labels(names)


def check_labels(names: Sequence[str]) -> tuple[str, ...]:
    """Return labels as given; raise RuntimeFault if one is empty or occurs twice."""
    if not names or not all(names):
        raise RuntimeFault("a label without a name: give each class a name with --labels")
    for name in names:
        if names.count(name) > 1:
            raise RuntimeFault(f"two classes have the name {name!r}: rename one with --labels")
    return tuple(names)


def names_in(text: str) -> list[str]:
    """Return the names in Ultralytics' metadata: a Python dictionary or list as text."""
    return _as_names(literal(text, "names of classes"))


def literal(text: str, what: str) -> Any:
    """Return a value of Ultralytics' metadata, which is Python text. Raise RuntimeFault."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as exc:
        raise RuntimeFault(f"the file's {what} cannot be read: {text[:80]!r}") from exc


def skeleton(name: str, points: Sequence[str]) -> dict[str, Any]:
    """Return the label of a skeleton with a drawing; COCO's 17 points look like a person."""
    if tuple(points) == COCO_KEYPOINTS:
        places = [(x, y) for _, x, y in _COCO_POINTS]
        edges: Sequence[tuple[int, int]] = _COCO_EDGES
    else:
        step = 80 / max(1, min(len(points), _COLUMNS) - 1)
        rows = max(1, (len(points) - 1) // _COLUMNS)
        places = [
            (round(10 + index % _COLUMNS * step), round(10 + index // _COLUMNS * 80 / rows))
            for index in range(len(points))
        ]
        edges = ()
    return {
        "name": name,
        "type": "skeleton",
        "sublabels": [
            {"id": number, "name": point, "type": "points"}
            for number, point in enumerate(points, 1)
        ],
        "svg": _drawing(points, places, edges),
    }


def _labels_in_file(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise RuntimeFault(f"the labels in {path} cannot be read: {exc}") from exc
    if path.suffix == ".txt":
        return [line.strip() for line in text.splitlines() if line.strip()]
    yaml: Any = importlib.import_module("yaml")
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as exc:
        raise RuntimeFault(f"{path} is not YAML: {exc}") from exc
    names = content.get("names") if isinstance(content, dict) else None
    if names is None:
        raise RuntimeFault(f"{path} has no 'names'")
    return _as_names(names)


def _as_names(found: object) -> list[str]:
    if isinstance(found, dict):
        if set(found) != set(range(len(found))):
            raise RuntimeFault("the names of classes are not numbered from 0 without a gap")
        return [str(found[number]) for number in range(len(found))]
    if not isinstance(found, (list, tuple)):
        raise RuntimeFault("the names of classes are neither a list nor a mapping")
    return [str(name) for name in found]


def _drawing(
    points: Sequence[str], places: Sequence[tuple[int, int]], edges: Sequence[tuple[int, int]]
) -> str:
    lines = [
        f'<line x1="{places[first - 1][0]}" y1="{places[first - 1][1]}" '
        f'x2="{places[second - 1][0]}" y2="{places[second - 1][1]}" data-type="edge" '
        f'data-node-from="{first}" data-node-to="{second}"></line>'
        for first, second in edges
    ]
    circles = [
        f'<circle r="0.75" cx="{x}" cy="{y}" data-type="element node" '
        f'data-element-id="{number}" data-node-id="{number}" '
        f'data-label-name="{escape(name)}"></circle>'
        for number, (name, (x, y)) in enumerate(zip(points, places, strict=True), 1)
    ]
    return "".join([*lines, *circles])
