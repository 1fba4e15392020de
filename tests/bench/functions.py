"""How fast the packaged functions are on this machine, and how much memory a worker takes.

Run it with ``python -m tests.bench.functions [--short] [--table]``; the table is the one of
``docs/functions.md``. Each function is served by the embedded
runtime in its own environment, once with one worker and once with two, and called over loopback
with a sample photograph; the figures hold decoding and JSON, as a caller sees them. The processor
time of a call is the figure that other work on the machine changes least.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.integration.runtime.harness import REPOSITORY, Runtime, running

SERVERLESS = REPOSITORY / "serverless"
IMAGES = REPOSITORY / "tests" / "data" / "images"
CALL_TIMEOUT_S = 120.0
SHORT = ("openvino-ssdlite-person", "openvino-nanodet-coco")  # the functions of a short run
Row = dict[str, Any]
Payload = dict[str, Any]


def encoded(name: str) -> str:
    """Return a sample photograph's file in base64."""
    return base64.b64encode((IMAGES / f"{name}.png").read_bytes()).decode()


def detection(runtime: Runtime, name: str) -> Payload:
    """Return a call of a detector."""
    return {"image": encoded("astronaut")}


def click(runtime: Runtime, name: str) -> Payload:
    """Return a first click: the picture travels and is embedded."""
    return {"image": encoded("coffee"), "pos_points": [[220, 200]], "neg_points": []}


def later_click(runtime: Runtime, name: str) -> Payload:
    """Return a click on a picture whose embedding the caller has."""
    body = {"image": encoded("coffee"), "want": "embedding"}
    answer = runtime.call(name, body, timeout=CALL_TIMEOUT_S).json()
    return {"embedding": answer["embedding"], "pos_points": [[220, 200]], "neg_points": []}


def step(runtime: Runtime, name: str) -> Payload:
    """Return a step of the tracker with one object."""
    shape = {"type": "rectangle", "points": [181, 58, 270, 178]}
    body = {"image": encoded("astronaut"), "shapes": [shape]}
    states = runtime.call(name, body, timeout=CALL_TIMEOUT_S).json()["states"]
    return {"image": encoded("astronaut"), "states": states}


def matching(runtime: Runtime, name: str) -> Payload:
    """Return a call of re-identification with eight boxes on each of two pictures."""
    boxes = [{"label_id": 1, "points": [40 * n, 60, 40 * n + 90, 240]} for n in range(8)]
    picture = encoded("astronaut")
    return {"image0": picture, "image1": picture, "boxes0": boxes, "boxes1": boxes}


# Function, what is measured, and how its call is made.
CASES: tuple[tuple[str, str, Callable[[Runtime, str], Payload]], ...] = (
    ("openvino-ssdlite-person", "frame", detection),
    ("openvino-nanodet-coco", "frame", detection),
    ("openvino-nanodet-sam-masks", "frame", detection),
    ("openvino-movenet-pose", "frame", detection),
    ("openvino-centerface-attributes", "frame", detection),
    ("openvino-mobile-sam", "first_click", click),
    ("openvino-mobile-sam", "later_click", later_click),
    ("openvino-siamese-mobilenetv2", "step", step),
    ("openvino-reid-mobilenetv2", "pair_of_frames", matching),
)


def run(short: bool) -> list[Row]:
    """Return the rows of this benchmark; a short run measures two functions only."""
    names = [name for name in folders() if not short or name in SHORT]
    seconds = 1.0 if short else 5.0
    return [row for name in names for row in measure(name, seconds)]


def folders() -> dict[str, Path]:
    """Return the folder of each function that is measured."""
    wanted = {name for name, _, _ in CASES}
    found = {
        yaml.safe_load(path.read_text())["metadata"]["name"]: path.parent
        for path in sorted(SERVERLESS.glob("*/*/*/function.yaml"))
    }
    return {name: folder for name, folder in found.items() if name in wanted}


def measure(name: str, seconds: float) -> list[Row]:
    """Return the rows of one function."""
    rows: list[Row] = []
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as scratch:
            folder = with_workers(folders()[name], Path(scratch) / "function", workers)
            with running([folder], Path(scratch) / "state") as runtime:
                runtime.wait_for(name)
                for case, what, make in CASES:
                    if case != name:
                        continue
                    body = json.dumps(make(runtime, name)).encode()
                    rows += load(runtime, f"{name} {what}", body, seconds, workers)
                if workers == 1:
                    memory = peak_memory(runtime) / 2**20
                    rows.append(row(f"{name} worker peak memory", memory, "MiB", False))
    return rows


def load(runtime: Runtime, name: str, body: bytes, seconds: float, workers: int) -> list[Row]:
    """Return the rows of one kind of call: the rate, and with one worker the time of a call."""
    url = runtime.address(name.split()[0])
    call_for(url, body, 0.0, at_once=workers)  # warm-up: each worker has run once
    before = processor_seconds(runtime)
    times = call_for(url, body, seconds, at_once=workers)
    spent = processor_seconds(runtime) - before
    rate = len(times) / sum(times) * workers
    rows = [row(f"{name} {workers} workers", rate, "calls/s", True)]
    if workers == 1:
        latency = 1000 * statistics.median(times)
        rows.append(row(f"{name} p50", latency, "ms", False))
        rows.append(row(f"{name} processor time", 1000 * spent / len(times), "ms", False))
    return rows


def with_workers(source: Path, target: Path, workers: int) -> Path:
    """Copy a function folder, links followed, with another number of workers."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    document = yaml.safe_load((target / "function.yaml").read_text())
    for trigger in document["spec"]["triggers"].values():
        trigger["numWorkers"] = trigger["maxWorkers"] = workers
    (target / "function.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return target


def call_for(url: str, body: bytes, seconds: float, *, at_once: int) -> list[float]:
    """Call a function for a while, ``at_once`` calls at any time; return each call's seconds."""
    started = threading.Barrier(at_once)

    def caller(_: int) -> list[float]:
        times: list[float] = []
        with requests.Session() as session:
            session.headers["Content-Type"] = "application/json"
            started.wait()
            end = time.perf_counter() + seconds
            while not times or time.perf_counter() < end:
                began = time.perf_counter()
                session.post(url, data=body, timeout=CALL_TIMEOUT_S).raise_for_status()
                times.append(time.perf_counter() - began)
        return times

    with ThreadPoolExecutor(at_once) as pool:
        return [each for times in pool.map(caller, range(at_once)) for each in times]


def peak_memory(runtime: Runtime) -> int:
    """Return the most resident memory that a process below the runtime has had, bytes (Linux)."""
    return max(_status(process, "VmHWM:") * 1024 for process in _below(runtime))


def processor_seconds(runtime: Runtime) -> float:
    """Return the processor time that all processes below the runtime have used (Linux)."""
    return sum(map(_ticks, _below(runtime))) / os.sysconf("SC_CLK_TCK")


def _below(runtime: Runtime) -> list[Path]:
    """Return the folders in /proc of the runtime's process and of all its descendants."""
    assert runtime.process is not None
    parents = {int(path.name): _status(path, "PPid:") for path in Path("/proc").glob("[0-9]*")}
    below: set[int] = {runtime.process.pid}
    while grown := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= grown
    return [Path("/proc") / str(pid) for pid in below]


def _ticks(process: Path) -> int:
    try:
        # The command stands in brackets and may hold spaces; user and system time are 14 and 15.
        after = (process / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0  # it ended meanwhile
    return int(after[11]) + int(after[12])


def _status(process: Path, key: str) -> int:
    try:
        lines = (process / "status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(key)), 0)


def row(name: str, value: float, unit: str, higher_is_better: bool) -> Row:
    """Return one row of the benchmark's table; there is no goal for a model's speed."""
    return {
        "name": name.replace("openvino-", "").replace(" ", "_"),
        "value": round(value, 1),
        "unit": unit,
        "goal": None,
        "higher_is_better": higher_is_better,
    }


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table in Markdown, a line for each kind of call."""
    values = {each["name"]: each["value"] for each in rows}
    lines = [
        "| function | call | processor time | median | calls/s, 1 worker | calls/s, 2 workers "
        "| memory of a worker |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for name, what, _ in CASES:
        short = name.removeprefix("openvino-")
        call = f"{short}_{what}"
        if f"{call}_p50" not in values:
            continue
        cells = [
            f"`{name}`",
            what.replace("_", " "),
            f"{values[f'{call}_processor_time']:.0f} ms",
            f"{values[f'{call}_p50']:.0f} ms",
            f"{values[f'{call}_1_workers']:.1f}",
            f"{values[f'{call}_2_workers']:.1f}",
            f"{values[f'{short}_worker_peak_memory']:.0f} MiB",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Print the rows, one a line, or the table."""
    rows = run("--short" in arguments)
    print(table(rows) if "--table" in arguments else "\n".join(map(json.dumps, rows)))


if __name__ == "__main__":
    main(sys.argv[1:])
