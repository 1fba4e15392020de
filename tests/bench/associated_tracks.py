"""IDF1 and MOTA of tracks that requests make of detections, with and without ReID.

Requests with ``output: tracks`` run on generated clips with known truth. The detector is an HTTP
server that answers the truth with faults from a seed: 10 % of the seen objects are missed, the
sides are off by 3 % of the box (standard deviation), objects that are seen to between 20 % and 50 %
have a score of 0.3, and every tenth frame on average has a false box. All objects have one label.
ReID is the packaged function, on the embedded runtime. The metrics are those of motmetrics.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from cvat_lambda.runtime.environments.build import EnvironmentBuilder
from cvat_lambda.runtime.paths import cache_folder
from tests.bench.batch import row
from tests.bench.moving_objects import HEIGHT, WIDTH, Box, Clip, Truth, cut, make_clip
from tests.bench.stand import REPOSITORY, Stand, stand, worker_process
from tests.http_server import HttpRequest, Reply, http_server
from tests.integration.runtime.harness import running

REID = "openvino-reid-mobilenetv2"
FOLDER = REPOSITORY / "serverless" / "openvino" / "cvat_lambda" / "reid_mobilenetv2"
METRICS_NEED = (  # a dependency of this benchmark alone
    "motmetrics==1.4.0",
    "numpy==1.26.4",
    "pandas==2.2.3",
    "pillow==13.0.0",
    "scipy==1.13.1",
)
LEAST_VISIBLE = 0.2  # share of an object that the detector can see
MISSED, OFF, FALSE_BOXES = 0.1, 0.03, 0.1
FIGURES = (  # their units, and whether more is better
    ("idf1", "share", True),
    ("mota", "share", True),
    ("num_switches", "switches", False),
    ("num_transfer", "transfers", False),
)
SEEDS, FRAMES = (0, 1), 160


def run(short: bool) -> Iterator[dict[str, Any]]:
    """Run all measurements in a process of its own. Yield each row as soon as it is measured."""
    command = [sys.executable, "-m", "tests.bench.associated_tracks"]
    with subprocess.Popen(
        [*command, *(["--short"] if short else [])], cwd=REPOSITORY, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(b"{"):
                yield json.loads(line)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def measure(place: Stand, *, short: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows of each clip, without and with ReID."""
    interpreter = metrics_environment()
    with (
        tempfile.TemporaryDirectory() as scratch,
        running([FOLDER], Path(scratch) / "state") as runtime,
        worker_process(place.home / "worker.log"),
    ):
        runtime.wait_for_state(REID)
        register(REID, "reid", runtime.address(REID))
        for seed in SEEDS[:1] if short else SEEDS:
            clip = make_clip(seed, 20 if short else FRAMES)
            for suffix, options in (("", {}), ("_reid", {"link": link()})):
                figures = score(interpreter, clip, tracks_of(place, seed, clip, **options))
                for name, unit, higher in FIGURES:
                    made = row(f"association{suffix}_{seed}_{name}", 0, unit, 0, higher=higher)
                    yield {**made, "value": round(figures[name], 3), "goal": None}


def metrics_environment() -> Path:
    """Return the interpreter that has motmetrics."""
    builder = EnvironmentBuilder(cache_folder() / "environments")
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, "requirements.txt").write_text("\n".join(METRICS_NEED), encoding="utf-8")
        return builder.prepare(Path(scratch), "3.11", lambda line: None).interpreter


def link() -> Any:
    """Return the option of a request that joins tracks by ReID."""
    from cvat_lambda.requests.store.tracking import Link

    return Link(reid=REID)


def register(function_id: str, kind: str, url: str) -> str:
    """Register a function with the app. Return its id."""
    from cvat_lambda.functions.models import Function

    annotations = {"type": kind, "spec": json.dumps([{"name": "thing", "type": "rectangle"}])}
    Function.objects.update_or_create(
        id=function_id,
        defaults={
            "platform": "endpoint",
            "kind": kind,
            "endpoint_url": url,
            "metadata": {
                "metadata": {"name": function_id, "annotations": annotations},
                "status": {"state": "ready"},
            },
        },
    )
    return function_id


def tracks_of(place: Stand, seed: int, clip: Clip, **options: Any) -> list[dict[int, Box]]:
    """Run a request with a detector over a clip. Return the box on each frame of each track."""
    from cvat_lambda.engine import get_engine
    from cvat_lambda.engine.standalone.tasks import create_task

    answers, paths = {}, []
    for number, (frame, found) in enumerate(zip(clip.frames, detections(seed, clip), strict=True)):
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=95)
        paths.append(place.home / f"clip-{seed}-{number:06}.jpg")
        paths[-1].write_bytes(buffer.getvalue())
        answers[hashlib.sha256(buffer.getvalue()).digest()] = json.dumps(found)

    def answer(request: HttpRequest) -> Reply:
        sent = base64.b64decode(request.json()["image"])
        return Reply(body=answers[hashlib.sha256(sent).digest()])

    labels = [{"name": "thing", "type": "rectangle"}]
    task = create_task(place.owner, f"clip {seed}", labels, paths)
    with http_server(answer) as server:
        detector = register(f"truth-{seed}", "detector", server.url)
        place.run(task, detector, output="tracks", **options)
    return [
        boxes_of(track.shapes, len(paths)) for track in get_engine().annotations(task.pk).tracks
    ]


def detections(seed: int, clip: Clip) -> Iterator[list[dict[str, Any]]]:
    """Yield the detector's answer for each frame."""
    choose = random.Random(seed)
    for truths in clip.truths:
        boxes = [
            (faulty(truth, clip, choose), 0.9 if truth.is_seen else 0.3)
            for truth in truths
            if truth.visible >= LEAST_VISIBLE and choose.random() >= MISSED
        ]
        if choose.random() < FALSE_BOXES:
            left, top = choose.uniform(0, WIDTH - 80), choose.uniform(0, HEIGHT - 80)
            boxes.append(([left, top, left + 80, top + 80], 0.7))
        yield [
            {"label": "thing", "type": "rectangle", "points": box, "confidence": score}
            for box, score in boxes
        ]


def faulty(truth: Truth, clip: Clip, choose: random.Random) -> Box:
    """Return the part of an object's box that is on the image, with sides that are a little off."""
    left, top, right, bottom = cut(truth.box, clip)
    x, y = OFF * (right - left), OFF * (bottom - top)
    sides = zip((left, top, right, bottom), (x, y, x, y), strict=True)
    return cut([choose.gauss(side, off) for side, off in sides], clip)


def boxes_of(keys: Any, frames: int) -> dict[int, Box]:
    """Return the box of a track on each frame, linear between keyframes as CVAT shows it."""
    found = {}
    for key, later in zip(keys, (*keys[1:], None), strict=True):
        if key.outside:
            continue
        for frame in range(key.frame, frames if later is None else later.frame):
            share = 0.0 if later is None else (frame - key.frame) / (later.frame - key.frame)
            end = key.points if later is None or later.outside else later.points
            found[frame] = [a + share * (b - a) for a, b in zip(key.points, end, strict=True)]
    return found


def score(interpreter: Path, clip: Clip, tracks: list[dict[int, Box]]) -> dict[str, float]:
    """Return the metrics of tracks of a clip."""
    frames = [
        {
            "truths": [
                {"id": index, "box": cut(truth.box, clip), "is_seen": truth.is_seen}
                for index, truth in enumerate(truths)
            ],
            "tracks": [
                {"id": index, "box": boxes[number]}
                for index, boxes in enumerate(tracks)
                if number in boxes
            ],
        }
        for number, truths in enumerate(clip.truths)
    ]
    done = subprocess.run(
        [str(interpreter), "-m", "tests.bench.mot_metrics"],
        cwd=REPOSITORY,
        input=json.dumps(frames),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Run the measurements. Print each row as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    with stand() as place:
        for found in measure(place, short=options.short):
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
