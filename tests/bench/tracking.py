"""The time of the packaged tracker per frame, with one object and with many in one call.

Each step of a clip sends a frame and the states of the step before, as an annotator's client does.
The objects of one call are one batch, so the time per object should be lower with many objects.

On generated clips with known truth the packaged tracker is compared with OpenCV's CSRT and KCF in
one process: see `tests.bench.tracker_comparison`. On the same clips the tracks are measured that
requests make of detections: see `tests.bench.associated_tracks`.
"""

from __future__ import annotations

import base64
import io
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import requests
from PIL import Image

from cvat_lambda.runtime.commands import read_config
from cvat_lambda.runtime.deploy.prepare import make_preparer
from cvat_lambda.runtime.environments.build import EnvironmentBuilder
from cvat_lambda.runtime.paths import cache_folder
from tests.bench import associated_tracks
from tests.bench.function_cases import IMAGES
from tests.bench.functions import Row, row
from tests.integration.runtime.harness import REPOSITORY, running

TRACKER = "openvino-siamese-mobilenetv2"
FOLDER = REPOSITORY / "serverless" / "openvino" / "cvat_lambda" / "siamese_mobilenetv2"
COMPARED_WITH = (  # a dependency of this benchmark alone
    "numpy==2.4.6",
    "opencv-contrib-python-headless==5.0.0.93",
    "openvino==2026.4.1",
    "pillow==13.0.0",
)
FIGURES = (  # of tracker_comparison, their units, and whether more is better
    ("iou", "IoU", True),
    ("success", "share", True),
    ("switches", "switches", False),
    ("ms_per_object", "ms CPU", False),
)
SIZE = (640, 480)
OBJECTS = (1, 8)
LEAST_IOU = 0.5  # a step holds its object if box and object overlap so much


def run(short: bool) -> Iterator[Row]:
    """Yield the rows of trackers, then those of tracks that are made of detections."""
    yield from measure_trackers(short)
    yield from associated_tracks.run(short)


def measure_trackers(short: bool) -> list[Row]:
    """Return milliseconds per step and per object, and the share of steps with a held object."""
    frames = 6 if short else 40
    with (
        tempfile.TemporaryDirectory() as scratch,
        running([FOLDER], Path(scratch) / "state") as runtime,
    ):
        runtime.wait_for_state(TRACKER)
        url = runtime.address(TRACKER)
        rows = [item for count in OBJECTS for item in measure(url, count, frames)]
    return rows + compare_trackers(short)


def compare_trackers(short: bool) -> list[Row]:
    """Return the figures of the packaged tracker and of OpenCV's on the same generated clips."""
    prepared = make_preparer(offline=False, licences=()).prepare(read_config(FOLDER), print_nothing)
    builder = EnvironmentBuilder(cache_folder() / "environments")
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, "requirements.txt").write_text("\n".join(COMPARED_WITH), encoding="utf-8")
        environment = builder.prepare(Path(scratch), None, print_nothing)
    command = [str(environment.interpreter), "-m", "tests.bench.tracker_comparison"]
    seeds, frames = (["0"], "20") if short else (["0", "1", "2", "3"], "160")
    paths = os.pathsep.join((str(REPOSITORY), str(FOLDER)))
    done = subprocess.run(
        [*command, *seeds, "--frames", frames],
        env={**prepared.environment, "PYTHONPATH": paths, "CVAT_LAMBDA_THREADS": "1"},
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = {each["tracker"]: each for each in map(json.loads, done.stdout.splitlines())}
    rows = []
    for name, figures in found.items():
        goal = found["csrt"] if name == "siamese" else {}
        for figure, unit, higher_is_better in FIGURES:
            made = row(f"clips_{name}_{figure}", 0, unit, higher_is_better)
            rows.append({**made, "value": round(figures[figure], 3), "goal": goal.get(figure)})
    return rows


def print_nothing(line: str) -> None:
    """Drop a line of progress."""


def measure(url: str, objects: int, frames: int) -> list[Row]:
    """Track this number of objects in one clip. Return the rows."""
    clip = [picture(number, objects) for number in range(frames)]
    start = [{"type": "rectangle", "points": box} for box in clip[0][1]]
    with requests.Session() as session:
        session.trust_env = False
        states = _call(session, url, {"image": clip[0][0], "shapes": start})["states"]
        times, held = [], []
        for image, truth in clip[1:]:
            began = time.perf_counter()
            answer = _call(session, url, {"image": image, "states": states})
            times.append(1000 * (time.perf_counter() - began))
            states = answer["states"]
            held += [
                overlap(shape["points"], box) >= LEAST_IOU
                for shape, box in zip(answer["shapes"], truth, strict=True)
            ]
    name = f"tracking_{objects}_objects"
    step = statistics.median(times)
    return [
        row(f"{name}_step_p50", step, "ms", False),
        row(f"{name}_per_object", step / objects, "ms", False),
        row(f"{name}_held", float(np.mean(held)), "share", True),
    ]


def picture(number: int, objects: int) -> tuple[str, list[list[float]]]:
    """Return a frame of the clip in base64, and the boxes of its objects, which move right."""
    frame = Image.open(IMAGES / "chelsea.png").convert("RGB").resize(SIZE)
    cup = Image.open(IMAGES / "coffee.png").convert("RGB").crop((170, 15, 410, 305))
    cup = cup.resize((60, 72))
    boxes = []
    for index in range(objects):
        left, top = 20 + 150 * (index % 4) + 2 * number, 60 + 200 * (index // 4)
        frame.paste(cup, (left, top))
        boxes.append([float(left), float(top), float(left + 60), float(top + 72)])
    file = io.BytesIO()
    frame.save(file, "JPEG", quality=95)
    return base64.b64encode(file.getvalue()).decode(), boxes


def overlap(one: list[float], two: list[float]) -> float:
    """Return the intersection over union of two boxes."""
    width = min(one[2], two[2]) - max(one[0], two[0])
    height = min(one[3], two[3]) - max(one[1], two[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, two))
    return shared / (areas - shared)


def _call(session: requests.Session, url: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    response = session.post(url, data=json.dumps(body), headers=headers, timeout=120)
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer
