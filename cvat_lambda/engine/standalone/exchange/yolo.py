"""Ultralytics YOLO: detection, segmentation and pose.

Format: https://docs.ultralytics.com/datasets/. A line of ``labels/train/NAME.txt`` is a class and
numbers in [0, 1] of the frame's width and height. Shapes that a variant cannot express are counted
as left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from cvat_lambda.annotations.types import Label, Shape
from cvat_lambda.engine.standalone.exchange.coco import Progress
from cvat_lambda.engine.standalone.exchange.dataset import (
    Dataset,
    DatasetFrame,
    safe_name,
    stem_of,
)
from cvat_lambda.engine.standalone.exchange.outlines import area_of, box_of, polygons_of

Line = Callable[[Shape, Label, DatasetFrame], "list[float] | None"]


def write_detection(dataset: Dataset, progress: Progress) -> tuple[dict[str, bytes], int]:
    """Return files with the boxes of rectangles, ellipses, polygons, masks and skeletons."""
    return _write(dataset, dataset.labels, _box, {}, progress)


def write_segmentation(dataset: Dataset, progress: Progress) -> tuple[dict[str, bytes], int]:
    """Return files with the outlines of rectangles, ellipses, polygons and masks."""
    return _write(dataset, dataset.labels, _outline, {}, progress)


def write_pose(dataset: Dataset, progress: Progress) -> tuple[dict[str, bytes], int]:
    """Return files with the skeletons. All labels of one file have the same number of points."""
    labels = tuple(label for label in dataset.labels if label.type == "skeleton")
    most = max((len(label.sublabels) for label in labels), default=0)

    def line(shape: Shape, label: Label, frame: DatasetFrame) -> list[float] | None:
        box = _box(shape, label, frame)
        return None if box is None else [*box, *_points(shape, label, frame, most)]

    return _write(dataset, labels, line, {"kpt_shape": [most, 3]}, progress)


def _write(
    dataset: Dataset,
    labels: tuple[Label, ...],
    line: Line,
    more: dict[str, object],
    progress: Progress,
) -> tuple[dict[str, bytes], int]:
    places = {label.id: place for place, label in enumerate(labels)}
    files: dict[str, bytes] = {}
    left_out = 0
    for place, frame in enumerate(dataset.frames, start=1):
        lines = []
        for shape in frame.shapes:
            index = places.get(shape.label_id)
            values = None if index is None else line(shape, labels[index], frame)
            if values is None:
                left_out += 1
            else:
                lines.append(f"{index} {_numbers(values)}\n")
        left_out += len(frame.tags)
        files[f"labels/train/{stem_of(frame.name)}.txt"] = "".join(lines).encode()
        progress(place / max(1, dataset.size))
    names = "".join(f"  {place}: {json.dumps(label.name)}\n" for place, label in enumerate(labels))
    extra = "".join(f"{name}: {json.dumps(value)}\n" for name, value in more.items())
    files["data.yaml"] = f"path: .\ntrain: train.txt\n{extra}names:\n{names}".encode()
    pictures = (f"images/train/{safe_name(frame.name)}\n" for frame in dataset.frames)
    files["train.txt"] = "".join(pictures).encode()
    return files, left_out


def _numbers(values: Iterable[float]) -> str:
    return " ".join(
        f"{value:.6f}" if not float(value).is_integer() else f"{int(value)}" for value in values
    )


def _box(shape: Shape, label: Label, frame: DatasetFrame) -> list[float] | None:
    if shape.type not in ("rectangle", "ellipse", "polygon", "mask", "skeleton"):
        return None
    box = box_of(shape, frame.width, frame.height)
    if box is None:
        return None
    left, top, right, bottom = box
    return [
        (left + right) / 2 / frame.width,
        (top + bottom) / 2 / frame.height,
        (right - left) / frame.width,
        (bottom - top) / frame.height,
    ]


def _outline(shape: Shape, label: Label, frame: DatasetFrame) -> list[float] | None:
    """Return the largest outline: the format has one polygon an object."""
    found = polygons_of(shape, frame.width, frame.height)
    if not found:
        return None
    points = max(found, key=area_of)
    return [value / (frame.height if at % 2 else frame.width) for at, value in enumerate(points)]


def _points(shape: Shape, label: Label, frame: DatasetFrame, count: int) -> list[float]:
    elements = {element.label_id: element for element in shape.elements}
    found: list[float] = []
    for sublabel in label.sublabels:
        element = elements.get(sublabel.id or 0)
        if element is None or element.outside or not element.points:
            found += [0, 0, 0]
        else:
            x, y = element.points[:2]
            found += [x / frame.width, y / frame.height, 1 if element.occluded else 2]
    return [*found, *[0.0] * (3 * (count - len(label.sublabels)))]
