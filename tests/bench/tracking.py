"""The time of the packaged tracker per frame, with one object and with many in one call.

Each step of a clip sends a frame and the states of the step before, as an annotator's client does.
The objects of one call are one batch, so the time per object should be lower with many objects.
"""

from __future__ import annotations

import base64
import io
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import requests
from PIL import Image

from tests.bench.functions import IMAGES, SERVERLESS, Row, row
from tests.integration.runtime.harness import running

TRACKER = "openvino-siamese-mobilenetv2"
FOLDER = SERVERLESS / "openvino" / "cvat_lambda" / "siamese_mobilenetv2"
SIZE = (640, 480)
OBJECTS = (1, 8)
LEAST_IOU = 0.5  # a step holds its object if box and object overlap so much


def run(short: bool) -> list[Row]:
    """Return milliseconds per step and per object, and the share of steps with a held object."""
    frames = 6 if short else 40
    with (
        tempfile.TemporaryDirectory() as scratch,
        running([FOLDER], Path(scratch) / "state") as runtime,
    ):
        runtime.wait_for(TRACKER)
        url = runtime.address(TRACKER)
        return [item for count in OBJECTS for item in measure(url, count, frames)]


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
