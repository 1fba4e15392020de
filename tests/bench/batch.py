"""Background requests, compared with the ceiling of a function of fixed latency.

The ceiling is frames x latency / workers. The measured time is that from the request's start to
its end, with all writes. Frames are 1280x720 JPEG of about 200 KB, the database is PostgreSQL, the
worker is a real RQ worker, and the function is a process of its own. It gets binary bodies, as the
functions of ``serverless/`` do, except in the rows with ``json``.

Beside each fast function a bare client runs: as many threads as the request has invocations in
flight read the same files and post them, and save nothing.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.stand import (
    REPOSITORY,
    Peak,
    Stand,
    function_process,
    stand,
    worker_process,
)


@dataclass(frozen=True)
class Share:
    """A measurement whose result is a share of the ceiling."""

    name: str
    latency_ms: float
    workers: int
    frames: int
    goal: float
    processes: int = 1  # RQ workers, each with a shard
    batch: int = 1  # frames of one invocation; the latency is that of a frame
    bare: bool = False  # measure a bare client beside it
    binary: bool = True  # the function takes binary bodies


SHARES = (
    Share("batch_share_50ms", 50, 2, 200, 0.95),
    Share("batch_share_200ms", 200, 2, 200, 0.95),
    Share("batch_share_5ms", 5, 2, 1000, 0.80, bare=True),
    Share("batch_share_5ms_json", 5, 2, 1000, 0.70, binary=False),
    Share("batch_share_5ms_2_processes", 5, 2, 1000, 0.95, processes=2, bare=True),
    Share("batch_share_3ms_batches_of_8", 3, 1, 1600, 0.90, batch=8),
    Share("batch_share_50ms_16w", 50, 16, 800, 0.80),
)


def run(short: bool) -> Iterator[dict[str, Any]]:
    """Run all measurements in a process of its own. Yield each row as soon as it is measured."""
    command = [sys.executable, "-m", "tests.bench.batch", *(["--short"] if short else [])]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(b"{"):
                yield json.loads(line)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def row(
    name: str, value: float, unit: str, goal: float | None, *, higher: bool = False
) -> dict[str, Any]:
    """Return a row in the format of all benchmarks."""
    return {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "goal": goal,
        "higher_is_better": higher,
    }


def wall_s(request: Any) -> float:
    """Return the seconds from a request's start to its end."""
    return float((request.ended_at - request.started_at).total_seconds())


def measure(place: Stand, names: set[str], *, short: bool) -> Iterator[dict[str, Any]]:
    """Yield the row of each measurement."""
    divisor = 10 if short else 1
    with worker_process(place.home / "worker.log") as worker:
        warm_up(place)
        for share in SHARES:
            if share.processes == 1 and wanted(share.name, names):
                yield from measure_share(place, share, share.frames // divisor, [worker])
        if wanted("batch_over_sequential_50ms", names):
            yield measure_sequential(place, 200 // divisor)
        if wanted("memory_20000_over_200", names):
            yield from measure_length(place, worker, 400 if short else 20_000)
    for share in SHARES:
        if share.processes > 1 and wanted(share.name, names):
            yield from measure_with_processes(place, share, share.frames // divisor)
    if wanted("video_end_over_start", names):
        # Batches are small, so that the times of the outcomes say when each frame was done.
        with worker_process(place.home / "worker.log", CVAT_LAMBDA_BATCH_FRAMES="5"):
            yield measure_video(place, 1000 // divisor)
    if wanted("batch_2_processes_over_1", names):
        yield measure_processes(place, 2400 // divisor)
    if wanted("batch_helpers_over_none", names):
        yield from measure_helpers(place, 16_000 // divisor)


def wanted(name: str, names: set[str]) -> bool:
    """Return whether a measurement was selected."""
    return not names or name in names


def warm_up(place: Stand) -> None:
    """Run a small request, so that the worker has started."""
    with function_process(1, 2) as port:
        place.run(place.task(4), place.function(port, 2))


def measure_share(
    place: Stand, share: Share, frames: int, workers: list[int]
) -> Iterator[dict[str, Any]]:
    """Yield the share of the ceiling that a request reaches, and the workers' processor time."""
    task = place.task(frames)
    ceiling_s = frames * share.latency_ms / 1000 / share.workers
    with function_process(share.latency_ms, share.workers) as port:
        if share.bare:
            bare_s = bare_wall_s(place.images, port, frames, in_flight=2 * share.workers)
            yield row(f"{share.name}_bare_client", ceiling_s / bare_s, "of ceiling", None)
        function_id = place.function(
            port, share.workers, binary=share.binary, max_batch=share.batch
        )
        before_s = sum(map(cpu_s, workers))
        request = place.run(task, function_id)
        used_ms = (sum(map(cpu_s, workers)) - before_s) * 1000 / frames
    yield row(share.name, ceiling_s / wall_s(request), "of ceiling", share.goal, higher=True)
    yield row(f"{share.name}_processor", used_ms, "ms a frame", None)


def measure_with_processes(place: Stand, share: Share, frames: int) -> Iterator[dict[str, Any]]:
    """Yield the same with several RQ workers, each of which runs one shard of the request."""
    from django.test import override_settings

    with ExitStack() as stack:
        log = place.home / "worker.log"
        workers = [stack.enter_context(worker_process(log)) for _ in range(share.processes)]
        warm_up(place)
        stack.enter_context(override_settings(CVAT_LAMBDA_SHARD_FRAMES=-(-frames // len(workers))))
        yield from measure_share(place, share, frames, workers)


def bare_wall_s(
    images: Sequence[Path], port: int, frames: int, *, in_flight: int, binary: bool = True
) -> float:
    """Return the seconds that a bare client with some threads takes for the frames."""
    from tests.bench.calls import BareClient, image_body

    left = iter(range(frames))
    lock = threading.Lock()

    def client() -> None:
        bare = BareClient(port)
        while True:
            with lock:
                number = next(left, None)
            if number is None:
                return
            path = images[number % len(images)]
            bare.call_ms(partial(image_body, path, binary=binary))

    threads = [threading.Thread(target=client) for _ in range(in_flight)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - began


def cpu_s(pid: int) -> float:
    """Return the processor time of a process, of its children, and of children that ended."""
    import psutil

    process = psutil.Process(pid)
    times = process.cpu_times()
    own = times.user + times.system + times.children_user + times.children_system
    running = (child.cpu_times() for child in process.children(recursive=True))
    return float(own + sum(each.user + each.system for each in running))


def measure_sequential(place: Stand, frames: int) -> dict[str, Any]:
    """Compare with a plain client that reads, encodes and posts one frame after the other.

    The client keeps its connection. With a new one per frame it would be slower.
    """
    import requests

    task = place.task(frames)
    headers = {"Content-Type": "application/json"}
    with function_process(50, 2) as port, requests.Session() as session:
        session.trust_env = False  # a lookup of proxies per request would be slower, too
        began = time.monotonic()
        for number in range(frames):
            data = place.images[number % len(place.images)].read_bytes()
            body = json.dumps({"image": base64.b64encode(data).decode()})
            answer = session.post(
                f"http://127.0.0.1:{port}/", data=body, headers=headers, timeout=60
            )
            answer.raise_for_status()
            answer.json()
        plain_s = time.monotonic() - began
        request = place.run(task, place.function(port, 2))
    return row("batch_over_sequential_50ms", plain_s / wall_s(request), "x", 1.9, higher=True)


def measure_length(place: Stand, worker: int, frames: int) -> Iterator[dict[str, Any]]:
    """Compare memory and time per frame of a long request with those of one of 200 frames."""
    found: dict[int, tuple[int, float]] = {}
    with function_process(5, 2) as port:
        function_id = place.function(port, 2)
        for length in (200, frames):
            task = place.task(length)
            peak = Peak(worker)
            peak.start()
            request = place.run(task, function_id)
            peak.stopped.set()
            peak.join()
            found[length] = (peak.kib, wall_s(request) / length)
    (small_kib, small_s), (large_kib, large_s) = found[200], found[frames]
    yield row("memory_20000_over_200", large_kib / small_kib, "x", 1.10, higher=False)
    yield row("wall_20000_over_200", large_s / small_s, "x", 1.10, higher=False)


def measure_video(place: Stand, frames: int) -> dict[str, Any]:
    """Compare the time per frame of the last quarter of a video with that of the second quarter."""
    from cvat_lambda.requests.store.models import Outcome

    task = place.video_task(frames)
    with function_process(5, 2) as port:
        request = place.run(task, place.function(port, 2))
    moments = sorted(
        moment.timestamp()
        for moment in Outcome.objects.filter(request=request).values_list("written_at", flat=True)
    )
    quarter = len(moments) // 4
    early_s = moments[2 * quarter - 1] - moments[quarter - 1]
    late_s = moments[4 * quarter - 1] - moments[3 * quarter - 1]
    return row("video_end_over_start", late_s / early_s, "x", 1.10, higher=False)


def measure_processes(place: Stand, frames: int) -> dict[str, Any]:
    """Compare two worker processes with one, where the app is the bottleneck.

    The factor 2 cannot be reached on 2 cores. A worker process uses one core at most; the function
    and PostgreSQL use another 0.37 core for its requests (measured). So about
    2 / 1.37 = 1.46 can be expected. An idle machine reached 1.50, one with ten busy processes
    1.25. Noise alone does not reach the goal of 1.2.
    """
    walls = []
    for processes in (1, 2):
        task = place.task(frames)
        shards = {"CVAT_LAMBDA_SHARD_FRAMES": str(-(-frames // 2))}
        with function_process(1, 16) as port:
            function_id = place.function(port, 16)
            walls.append(_with_processes(place, task, function_id, processes, shards))
    return row("batch_2_processes_over_1", walls[0] / walls[1], "x", 1.2, higher=True)


def measure_helpers(place: Stand, frames: int) -> Iterator[dict[str, Any]]:
    """Compare a worker that starts helper processes with one that does not.

    The function has 16 workers of 5 ms, more than one process can serve. The worker starts a helper
    sooner than by default, so that the measurement is short.
    """
    latency_ms, workers = 5.0, 16
    ceiling_s = frames * latency_ms / 1000 / workers
    walls = []
    for helpers in ("0", "3"):
        task = place.task(frames)
        environment = {
            "CVAT_LAMBDA_HELPER_PROCESSES": helpers,
            "CVAT_LAMBDA_HELPER_MIN_REMAINING_S": "5",
        }
        with (
            function_process(latency_ms, workers) as port,
            worker_process(place.home / "worker.log", **environment),
        ):
            warm_up(place)
            request = place.run(task, place.function(port, workers, binary=True))
        walls.append(wall_s(request))
        name = f"batch_share_5ms_16w_at_most_{helpers}_helpers"
        yield row(name, ceiling_s / walls[-1], "of ceiling", None)
        yield row(f"{name}_shards", request.shards.count(), "", None)
    yield row("batch_helpers_over_none", walls[0] / walls[1], "x", 1.2, higher=True)


def _with_processes(
    place: Stand, task: Any, function_id: str, processes: int, shards: dict[str, str]
) -> float:
    from django.test import override_settings

    with ExitStack() as stack:
        for _ in range(processes):
            stack.enter_context(worker_process(place.home / "worker.log"))
        warm_up(place)
        size = int(shards["CVAT_LAMBDA_SHARD_FRAMES"])
        stack.enter_context(override_settings(CVAT_LAMBDA_SHARD_FRAMES=size))
        return wall_s(place.run(task, function_id))


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
