"""Track requests, compared with the ceiling of a tracker of fixed time per frame.

The ceiling is frames x time. A bare client in the same run reads, encodes and posts the frames one
after the other, and saves nothing. Frames are 1280x720 JPEG of about 200 KB; the database is
PostgreSQL, the worker a real RQ worker, the tracker a process of its own.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.bench.batch import row, wall_s, wanted
from tests.bench.stand import (
    REPOSITORY,
    Peak,
    Stand,
    function_program,
    stand,
    worker_cpu_s,
    worker_process,
)

OBJECTS = (1, 10, 50)
KILLS = 10
SMALL_STATE, LARGE_STATE = 2_000, 20_000  # bytes of a state of one object


def run(short: bool) -> Iterator[dict[str, Any]]:
    """Run all measurements in a process of its own. Yield each row as soon as it is measured."""
    command = [sys.executable, "-m", "tests.bench.tracks", *(["--short"] if short else [])]
    environment = {**os.environ, "CVAT_LAMBDA_HEARTBEAT_S": "1", "CVAT_LAMBDA_MAX_RESUMES": "100"}
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(b"{"):
                yield json.loads(line)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


@contextmanager
def tracker_process(latency_ms: float, state_bytes: int = SMALL_STATE) -> Iterator[int]:
    """Start a tracker process. Yield its port."""
    arguments = ("--latency-ms", str(latency_ms), "--state-bytes", str(state_bytes))
    with function_program("tests.bench.tracker_function", *arguments) as port:
        yield port


def tracker(place: Stand, port: int, *, max_frames: int = 1) -> str:
    """Register a tracker process with the app. Return its function id."""
    from cvat_lambda.functions.models import Function

    function_id = place.function(port, 1)
    stored = Function.objects.get(pk=function_id)
    stored.kind = "tracker"
    stored.metadata["metadata"]["annotations"] = {
        "type": "tracker",
        "supported_shape_types": "rectangle",
        "max_frames": str(max_frames),
    }
    stored.save()
    return function_id


def boxes(objects: int) -> list[list[float]]:
    """Return the first boxes of the objects."""
    return [
        [10.0 + 7 * (n % 10), 10.0 + 25 * (n // 10), 30.0 + 7 * (n % 10), 25.0 + 25 * (n // 10)]
        for n in range(objects)
    ]


def tracking(objects: int) -> Any:
    """Return the parameters of a request with this number of objects on frame 0."""
    from cvat_lambda.requests.store.tracking import StartShape, Tracking

    return Tracking(
        shapes=tuple(
            StartShape(frame=0, label="car", type="rectangle", points=tuple(box))
            for box in boxes(objects)
        )
    )


def measure(place: Stand, names: set[str], *, short: bool) -> Iterator[dict[str, Any]]:
    """Yield the row of each measurement."""
    divisor = 10 if short else 1
    with worker_process(place.home / "worker.log") as worker:
        with tracker_process(1) as port:  # the worker has started after it
            place.run(place.task(4), tracker(place, port), tracking=tracking(1))
        for objects in OBJECTS:
            if wanted(f"tracks_share_50ms_{objects}", names):
                yield from measure_share(place, worker, objects, 200 // divisor)
        if wanted("tracks_clip_over_single_5ms", names):
            yield measure_clip(place, 320 // divisor)
        if wanted("tracks_memory_2000_over_200", names):
            yield measure_memory(place, worker, 2000 // divisor)
    if wanted("tracks_kill_identical", names):
        yield from measure_kills(place, 2000 // divisor)


def measure_share(place: Stand, worker: int, objects: int, frames: int) -> Iterator[dict[str, Any]]:
    """Yield the share of the ceiling that a request reaches, that of a bare client, and CPU."""
    task = place.task(frames)
    with tracker_process(50) as port:
        bare_s = bare(place.images, port, objects, frames)
        before_s = worker_cpu_s(worker)
        request = place.run(task, tracker(place, port), tracking=tracking(objects))
        cpu_ms = 1000 * (worker_cpu_s(worker) - before_s) / frames
    yield from share_rows(f"tracks_share_50ms_{objects}", frames, wall_s(request), bare_s, cpu_ms)


def share_rows(
    name: str, frames: int, wall_s: float, bare_s: float, cpu_ms: float, goal: float = 0.95
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a request and of a bare client at 50 ms a frame."""
    ceiling_s = frames * 0.050
    yield row(name, ceiling_s / wall_s, "of ceiling", goal, higher=True)
    yield {**row(f"{name}_bare", ceiling_s / bare_s, "of ceiling", 0, higher=True), "goal": None}
    yield {**row(f"{name}_cpu", cpu_ms, "ms a frame", 0, higher=False), "goal": None}


def bare(images: Sequence[Path], port: int, objects: int, frames: int) -> float:
    """Return the seconds that a plain client takes. It keeps its connection and the states."""
    import requests

    states: list[Any] = []
    shapes: list[Any] = [{"type": "rectangle", "points": box} for box in boxes(objects)]
    headers = {"Content-Type": "application/json"}
    with requests.Session() as session:
        session.trust_env = False
        began = time.monotonic()
        for number in range(frames):
            data = images[number % len(images)].read_bytes()
            body = {"image": base64.b64encode(data).decode(), "shapes": shapes, "states": states}
            answer = session.post(
                f"http://127.0.0.1:{port}/", data=json.dumps(body), headers=headers, timeout=60
            )
            answer.raise_for_status()
            states, shapes = answer.json()["states"], [None] * objects
        return time.monotonic() - began


def measure_clip(place: Stand, frames: int) -> dict[str, Any]:
    """Compare clips of 16 frames with single frames: 50 objects, states of 20 kB."""
    walls = []
    with tracker_process(5, LARGE_STATE) as port:
        for max_frames in (1, 16):
            task = place.task(frames)
            function_id = tracker(place, port, max_frames=max_frames)
            walls.append(wall_s(place.run(task, function_id, tracking=tracking(50))))
    return row("tracks_clip_over_single_5ms", walls[0] / walls[1], "x", 3.0, higher=True)


def measure_memory(place: Stand, worker: int, frames: int) -> dict[str, Any]:
    """Compare the memory of a long request with that of one of 200 frames."""
    peaks = []
    with tracker_process(2) as port:
        function_id = tracker(place, port)
        for length in (200, frames):
            task = place.task(length)
            peak = Peak(worker)
            peak.start()
            place.run(task, function_id, tracking=tracking(10))
            peak.stopped.set()
            peak.join()
            peaks.append(peak.kib)
    return row("tracks_memory_2000_over_200", peaks[1] / peaks[0], "x", 1.10, higher=False)


def measure_kills(place: Stand, frames: int) -> Iterator[dict[str, Any]]:
    """Kill the worker at ten random points, and compare the tracks with those of a quiet run."""
    from cvat_lambda.requests.control.undo import undo_request

    task = place.task(frames)
    with tracker_process(5) as port:
        function_id = tracker(place, port, max_frames=4)
        with worker_process(place.home / "worker.log"):
            quiet = place.run(task, function_id, tracking=tracking(5))
        expected = stored(task.pk)
        undo_request(quiet)
        resumes = killed_run(place, task, function_id, frames)
    same = stored(task.pk) == expected and len(expected) == 5
    yield row("tracks_kill_identical", float(same), "bool", 1, higher=True)
    yield row("tracks_kill_resumes", resumes, "resumes", KILLS, higher=True)


def killed_run(place: Stand, task: Any, function_id: str, frames: int) -> int:
    """Run a request while its worker is killed `KILLS` times. Return how often it was resumed."""
    from cvat_lambda.engine.standalone.access import StandaloneAccess
    from cvat_lambda.requests.control.create import create_request
    from cvat_lambda.requests.control.recover import recover

    points = sorted(random.Random(11).sample(range(1, frames - 10), KILLS))
    request = create_request(
        StandaloneAccess(place.owner),
        function_id=function_id,
        task_id=task.pk,
        tracking=tracking(5),
    )
    until = time.monotonic() + 900
    while points or request.status in ("queued", "started"):
        with worker_process(place.home / "worker.log") as pid:
            while time.monotonic() < until:
                time.sleep(0.02)
                recover()
                request.refresh_from_db()
                if request.status not in ("queued", "started"):
                    return int(request.resumes)
                if points and request.done >= points[0] and runs_shard(pid, request):
                    points.pop(0)
                    kill_horses(pid)
                    break
            else:
                raise RuntimeError("the killed run did not end in time")
    return int(request.resumes)


def runs_shard(pid: int, request: Any) -> bool:
    """Return whether a process of this worker holds the request's shard."""
    _, _, holder = request.shards.get().worker.rpartition(":")
    return any(str(child.pid) == holder for child in psutil.Process(pid).children())


def kill_horses(pid: int) -> None:
    """Kill a worker and the processes that run its jobs, without a chance to clean up."""
    worker = psutil.Process(pid)
    for process in (worker, *worker.children(recursive=True)):
        process.send_signal(signal.SIGKILL)


def stored(task_id: int) -> list[Any]:
    """Return the keyframes of a task's tracks."""
    from cvat_lambda.engine import get_engine

    return sorted(
        [(key.frame, key.points, key.outside) for key in track.shapes]
        for track in get_engine().annotations(task_id).tracks
    )


def main() -> None:
    """Run the measurements. Print each row as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", nargs="*", default=[], help="names of figures")
    options = parser.parse_args()
    with stand() as place:
        for found in measure(place, set(options.only), short=options.short):
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
