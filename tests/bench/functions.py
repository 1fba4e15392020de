"""How fast the functions are on this machine, and how much memory a worker takes.

Run it with ``python -m tests.bench.functions [--short] [--only ID ...] [--table [--force]]``; the
table is the one of ``docs/functions.md``, and is refused where other work keeps the machine busy.
Each function is served by the embedded runtime in its own environment, once with one worker and
once with two, and called over loopback with a sample photograph; the figures hold decoding and
JSON, as a caller sees them. The processor time of a call is the figure that other work on the
machine changes least.

The official weights of the catalogue are not at hand, so its functions are served with the
stand-ins of their tests (tests/functions/catalogue/stand_ins); `Case.network` says what those are.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml
from PIL import Image

from cvat_lambda.runtime.commands import read_config
from cvat_lambda.runtime.environments.build import EnvironmentBuilder
from cvat_lambda.runtime.paths import cache_folder
from tests.functions.__main__ import folders, stand_ins
from tests.integration.runtime.harness import REPOSITORY, Runtime, running

SERVERLESS = REPOSITORY / "serverless"
IMAGES = REPOSITORY / "tests" / "data" / "images"
CALL_TIMEOUT_S = 600.0
SHORT = ("openvino-ssdlite-person", "openvino-nanodet-coco")  # the functions of a short run
MAX_LOAD = 0.25  # a core, 1-minute average, at the start of a table that is worth printing
# What a function is measured with.
PACKAGED = "its own weights"
RANDOM = "random weights"  # of the official shapes: time and memory are the true model's
GENERATED = "generated network"  # of the same inputs and outputs: the function's own share
Row = dict[str, Any]
Payload = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One kind of call of one function."""

    function: str
    call: str
    make: Callable[[Runtime, str], Payload]
    network: str = PACKAGED

    @property
    def short(self) -> str:
        """What the names of its function's rows begin with."""
        return self.function.removeprefix("openvino-")

    @property
    def key(self) -> str:
        """What the names of its own rows begin with."""
        return f"{self.short}_{self.call.replace(' ', '_')}"


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


def painted(runtime: Runtime, name: str) -> Payload:
    """Return a call of a detector whose stand-in finds what is red: one thing on the picture."""
    picture = Image.open(IMAGES / "astronaut.png").convert("RGB")
    picture.paste((255, 0, 0), (200, 100, 300, 260))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return {"image": base64.b64encode(buffer.getvalue()).decode()}


def box_and_click(runtime: Runtime, name: str) -> Payload:
    """Return a call of an interactor that begins with a box."""
    body = {"image": encoded("coffee"), "pos_points": [[220, 200]], "neg_points": []}
    return {**body, "obj_bbox": [[75, 15], [480, 390]]}


def case(function: str, call: str, make: Callable[[Runtime, str], Payload], network: str) -> Case:
    """Return a case; only for the table below, whose lines are short so."""
    return Case(function=function, call=call, make=make, network=network)


CASES = (
    case("openvino-ssdlite-person", "frame", detection, PACKAGED),
    case("openvino-nanodet-coco", "frame", detection, PACKAGED),
    case("openvino-nanodet-sam-masks", "frame", detection, PACKAGED),
    case("openvino-movenet-pose", "frame", detection, PACKAGED),
    case("openvino-centerface-attributes", "frame", detection, PACKAGED),
    case("openvino-mobile-sam", "first click", click, PACKAGED),
    case("openvino-mobile-sam", "later click", later_click, PACKAGED),
    case("openvino-siamese-mobilenetv2", "step", step, PACKAGED),
    case("openvino-reid-mobilenetv2", "pair of frames", matching, PACKAGED),
    case("pth-facebookresearch-detectron2-retinanet-r101", "frame", detection, RANDOM),
    case("pth-mmpose-hrnet32", "frame with one person", detection, RANDOM),
    # ViT-B, the smallest: ViT-H has seven times its work, and 2.6 GB of weights a worker.
    case("pth-facebookresearch-sam-vit-h", "first click with ViT-B", click, RANDOM),
    case("pth-facebookresearch-sam-vit-h", "later click with ViT-B", later_click, RANDOM),
    case("pth-shiyinzhang-iog", "click in a box", box_and_click, RANDOM),
    case("pth-dschoerk-transt", "step", step, RANDOM),
    case("onnx-wongkinyiu-yolov7", "frame", painted, GENERATED),
    case("tf-faster-rcnn-inception-v2-coco", "frame", painted, GENERATED),
    case(
        "openvino-omz-public-mask-rcnn-inception-resnet-v2-atrous-coco",
        "frame",
        painted,
        GENERATED,
    ),
    case("openvino-omz-intel-face-detection-0205", "frame with one face", painted, GENERATED),
    case(
        "openvino-omz-intel-person-reidentification-retail-0277",
        "pair of frames",
        matching,
        GENERATED,
    ),
)


def run(short: bool, only: Sequence[str] = ()) -> list[Row]:
    """Return the rows; of the functions in `only`, else a short run measures two."""
    known = tuple(dict.fromkeys(case.function for case in CASES))
    unknown = sorted(set(only) - set(known))
    if unknown:
        raise SystemExit(f"{', '.join(unknown)}: not measured; known are {', '.join(known)}")
    chosen = only or (SHORT if short else known)
    seconds = 1.0 if short else 5.0
    return [row for name in known if name in chosen for row in measure(name, seconds)]


def measure(name: str, seconds: float) -> list[Row]:
    """Return the rows of one function."""
    rows: list[Row] = []
    cases = [case for case in CASES if case.function == name]
    with weights_of(cases[0]) as variables:
        for workers in (1, 2):
            with serving(name, workers, variables) as runtime:
                for case in cases:
                    body = json.dumps(case.make(runtime, name)).encode()
                    rows += load(runtime, case, body, seconds, workers)
                if workers == 1:
                    memory = peak_memory(runtime) / 2**20
                    rows.append(row(f"{cases[0].short} worker peak memory", memory, "MiB", False))
    return rows


@contextmanager
def weights_of(case: Case) -> Iterator[Mapping[str, str]]:
    """Give the environment variables that name the stand-ins of a function, if it needs any."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = folders()[case.function]
        builder = EnvironmentBuilder(cache_folder() / "environments")
        python = builder.prepare(folder, read_config(folder).python, progress).interpreter
        needed = case.network != PACKAGED
        yield stand_ins(case.function, python, Path(scratch)) if needed else {}


def progress(line: str) -> None:
    """Say what is being prepared, beside the figures."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def serving(name: str, workers: int, variables: Mapping[str, str]) -> Iterator[Runtime]:
    """Serve one function with so many workers, ready."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = with_workers(folders()[name], Path(scratch) / "function", workers)
        with running([folder], Path(scratch) / "state", env=variables) as runtime:
            runtime.wait_for(name)
            yield runtime


def load(runtime: Runtime, case: Case, body: bytes, seconds: float, workers: int) -> list[Row]:
    """Return the rows of one kind of call: the rate, and with one worker the time of a call."""
    url = runtime.address(case.function)
    call_for(url, body, 0.0, at_once=workers)  # warm-up: each worker has run once
    before = processor_seconds(runtime)
    times = call_for(url, body, seconds, at_once=workers)
    spent = processor_seconds(runtime) - before
    rate = len(times) / sum(times) * workers
    rows = [row(f"{case.key} {workers} workers", rate, "calls/s", True)]
    if workers == 1:
        latency = 1000 * statistics.median(times)
        rows.append(row(f"{case.key} p50", latency, "ms", False))
        rows.append(row(f"{case.key} processor time", 1000 * spent / len(times), "ms", False))
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
        "name": name.replace(" ", "_"),
        "value": round(value, 3 if unit == "calls/s" else 1),
        "unit": unit,
        "goal": None,
        "higher_is_better": higher_is_better,
    }


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table in Markdown, a line for each kind of call."""
    values = {each["name"]: each["value"] for each in rows}
    lines = [
        "| function | call | measured with | processor time | median | calls/s, 1 worker "
        "| calls/s, 2 workers | memory of a worker |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for case in CASES:
        if f"{case.key}_p50" not in values:
            continue
        cells = [
            f"`{case.function}`",
            case.call,
            case.network,
            f"{values[f'{case.key}_processor_time']:.0f} ms",
            f"{values[f'{case.key}_p50']:.0f} ms",
            f"{values[f'{case.key}_1_workers']:.2g}",
            f"{values[f'{case.key}_2_workers']:.2g}",
            f"{values[f'{case.short}_worker_peak_memory']:.0f} MiB",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def busy(load: float, cores: int) -> str | None:
    """Return why a table for the docs cannot be measured now; None when it can."""
    if load <= MAX_LOAD * cores:
        return None
    return (
        f"the load average of the last minute is {load:.2f}; above {MAX_LOAD * cores:.2f} "
        f"({MAX_LOAD:g} a core) other work would be in the table: wait, or say --force"
    )


def print_table(*, short: bool, only: Sequence[str], force: bool) -> None:
    """Measure, and print the table and the load it was measured under."""
    cores, before = os.cpu_count() or 1, os.getloadavg()
    problem = busy(before[0], cores)
    if problem is not None and not force:
        raise SystemExit(problem)
    made = table(run(short, only))
    after = os.getloadavg()
    averages = (" ".join(f"{value:.2f}" for value in load) for load in (before, after))
    start, end = averages
    print(f"{cores} cores; load average (1, 5, 15 minutes) {start} at the start, {end} at the end.")
    print(f"\n{made}")


def main(arguments: Sequence[str]) -> None:
    """Print the rows, one a line, or the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.functions")
    parser.add_argument("--short", action="store_true", help="a second each, and two functions")
    parser.add_argument("--only", action="append", default=[], metavar="ID", help="this function")
    parser.add_argument("--table", action="store_true", help="the table of docs/functions.md")
    parser.add_argument("--force", action="store_true", help="a table on a busy machine")
    given = parser.parse_args(arguments)
    if given.table:
        print_table(short=given.short, only=given.only, force=given.force)
    else:
        print("\n".join(map(json.dumps, run(given.short, given.only))))


if __name__ == "__main__":
    main(sys.argv[1:])
