"""Measures detectors: ``python -m tests.functions.accuracy DATA FOLDER ... [--label LABEL]``.

It serves the functions of the folders; their labels must be those of COCO. DATA has the layout of
YOLO data sets: ``images/NAME.jpg``, and ``labels/NAME.txt`` with lines ``class x y width height``
(class index of COCO's 80, centre and size as fractions of the image). The table has a row per
threshold: precision, recall and F1 over all objects of the function's labels, then the recall of
small, medium and large objects. A detection is true when its IoU with an object of its label that
no better detection has found is at least 0.5.
"""

from __future__ import annotations

import argparse
import base64
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from cvat_lambda.runtime.commands import read_config
from tests.functions.conftest import ServedFunction
from tests.functions.packaged.photographs import box_iou
from tests.integration.runtime.harness import running

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "serverless"))

from common.coco import COCO_80

LOWEST = 0.05
THRESHOLDS = [round(LOWEST * step, 2) for step in range(1, 17)]
MIN_IOU = 0.5
SMALL, LARGE = 0.15, 0.4  # height as a share of the image's


@dataclass(frozen=True)
class Labelled:
    """An object of an image."""

    label: str
    box: list[float]
    height: float  # as a share of the image's


def read_labels(file: Path, width: int, height: int) -> list[Labelled]:
    """Read the objects of an image; an image without a file has none."""
    found = []
    for line in file.read_text().splitlines() if file.exists() else ():
        number, x, y, wide, high = (float(word) for word in line.split()[:5])
        box = [(x - wide / 2) * width, (y - high / 2) * height]
        box += [box[0] + wide * width, box[1] + high * height]
        found.append(Labelled(label=COCO_80[int(number)], box=box, height=high))
    return found


def find(items: Sequence[dict[str, Any]], objects: Sequence[Labelled]) -> set[int]:
    """Return the indices of the objects that items find; the items are sorted, best first."""
    found: set[int] = set()
    for item in items:
        overlaps = {
            number: box_iou(item["points"], each.box)
            for number, each in enumerate(objects)
            if each.label == item["label"] and number not in found
        }
        best = max(overlaps, key=lambda number: overlaps[number], default=None)
        if best is not None and overlaps[best] >= MIN_IOU:
            found.add(best)
    return found


def measure(function: ServedFunction, data: Path, label: str | None) -> None:
    """Print the table of a function, of one label or of all."""
    labels = {label} if label else {each["name"] for each in function.labels}
    answers = []
    for file in sorted((data / "images").glob("*.jpg")):
        with Image.open(file) as image:
            width, height = image.size
        objects = read_labels(data / "labels" / f"{file.stem}.txt", width, height)
        payload = {"image": base64.b64encode(file.read_bytes()).decode(), "threshold": LOWEST}
        status, items = function.invoke(payload)
        assert status == 200, items
        answers.append(
            (
                [item for item in items if item["label"] in labels],
                [each for each in objects if each.label in labels],
            )
        )
    print(f"{function.name}: {len(answers)} images")
    print("| threshold | precision | recall | F1 | recall small | medium | large |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for threshold in THRESHOLDS:
        print(row(threshold, answers))


def row(threshold: float, answers: Sequence[tuple[list[Any], list[Labelled]]]) -> str:
    """Return the table's line of a threshold."""
    detections = 0
    heights: list[tuple[float, bool]] = []
    for items, objects in answers:
        kept = [item for item in items if item["confidence"] >= threshold]
        found = find(kept, objects)
        detections += len(kept)
        heights += [(each.height, number in found) for number, each in enumerate(objects)]
    hits = sum(hit for _, hit in heights)
    ranges = ((0.0, 9.0), (0.0, SMALL), (SMALL, LARGE), (LARGE, 9.0))
    recall, small, medium, large = (
        _share([hit for height, hit in heights if low <= height < high]) for low, high in ranges
    )
    precision = hits / max(1, detections)
    f1 = 2 * hits / max(1, detections + len(heights))
    columns = (precision, recall, f1, small, medium, large)
    return f"| {threshold:.2f} | " + " | ".join(f"{value:.2f}" for value in columns) + " |"


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / max(1, len(hits))


def main(data: Path, folders: Sequence[Path], label: str | None) -> None:
    """Serve the functions and print a table of each."""
    with tempfile.TemporaryDirectory() as state, running(folders, Path(state)) as runtime:
        for folder in folders:
            name = read_config(folder).name
            runtime.wait_for_state(name, "ready")
            measure(ServedFunction(name=name, runtime=runtime), data, label)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--label", help="measure this label only")
    given = parser.parse_args()
    main(given.data, given.folders, given.label)
