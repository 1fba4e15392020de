"""Measure the speed of the functions on this machine, and the memory of a worker.

Run it with ``python -m tests.bench.functions [OPTION ...]``; ``--help`` lists the options.
``--table`` prints the table of ``docs/functions.md``; it is refused on a busy machine.
The embedded runtime serves each function in its own environment, once with one worker and once
with two. The benchmark calls it over loopback with a sample photograph, in a binary body if the
function announces it, as the app does. The times are those of the caller, with decoding and JSON.
Other load on the machine affects the processor time least. For functions with their own weights,
``outside_the_network`` is the share of the handler's processor time outside its networks, with one
thread.

The official weights of the catalogue are not available here, so its functions are served with the
stand-ins of their tests (tests/functions/catalogue/stand_ins). `Case.network` says which.
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

from cvat_lambda.runtime.binary_bodies import BINARY_TYPE, announces_binary, encode
from cvat_lambda.runtime.commands import read_config
from cvat_lambda.runtime.environments.build import EnvironmentBuilder
from cvat_lambda.runtime.paths import cache_folder
from tests.functions.__main__ import folders, stand_ins
from tests.integration.runtime.harness import REPOSITORY, Runtime, running

SERVERLESS = REPOSITORY / "serverless"
IMAGES = REPOSITORY / "cvat_lambda" / "server" / "photographs"
CALL_TIMEOUT_S = 600.0
SHORT = ("openvino-ssdlite-person", "openvino-nanodet-coco")  # the functions of a short run
MAX_OUTSIDE = 20.0  # goal: percent of the processor time outside the network
MAX_LOAD = 0.25  # highest 1-minute load average per core for --table
# The weights of a measurement.
PACKAGED = "its own weights"
RANDOM = "random weights"  # official shapes: the model's true time and memory
GENERATED = "generated network"  # same inputs and outputs: time without the model
Row = dict[str, Any]
Payload = dict[str, Any]
Body = tuple[bytes, str]  # of a call, and its content type


@dataclass(frozen=True, kw_only=True)
class Case:
    """One kind of call of one function."""

    function: str
    call: str
    make: Callable[[Runtime, str], Payload]
    network: str = PACKAGED

    @property
    def short(self) -> str:
        """The prefix of the names of the function's rows."""
        return self.function.removeprefix("openvino-")

    @property
    def key(self) -> str:
        """The prefix of the names of the case's rows."""
        return f"{self.short}_{self.call.replace(' ', '_')}"


def encoded(name: str) -> str:
    """Return a sample photograph's file in base64."""
    return base64.b64encode((IMAGES / f"{name}.png").read_bytes()).decode()


def detection(runtime: Runtime, name: str) -> Payload:
    """Return a call of a detector."""
    return {"image": encoded("astronaut")}


def click(runtime: Runtime, name: str) -> Payload:
    """Return a first click, which sends the image."""
    return {"image": encoded("coffee"), "pos_points": [[220, 200]], "neg_points": []}


def later_click(runtime: Runtime, name: str) -> Payload:
    """Return a later click, which sends the embedding."""
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
    """Return a call of a detector whose stand-in finds red areas, with one red rectangle."""
    picture = Image.open(IMAGES / "astronaut.png").convert("RGB")
    picture.paste((255, 0, 0), (200, 100, 300, 260))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return {"image": base64.b64encode(buffer.getvalue()).decode()}


def box_and_click(runtime: Runtime, name: str) -> Payload:
    """Return a call of an interactor that needs a box."""
    body = {"image": encoded("coffee"), "pos_points": [[220, 200]], "neg_points": []}
    return {**body, "obj_bbox": [[75, 15], [480, 390]]}


def case(function: str, call: str, make: Callable[[Runtime, str], Payload], network: str) -> Case:
    """Return a case. It shortens the lines of the list below."""
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
    # ViT-B is the smallest. ViT-H takes seven times as long, with 2.6 GB of weights per worker.
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


TIMED = {case.function for case in CASES if case.network == PACKAGED}


def run(short: bool, only: Sequence[str] = (), seconds: float | None = None) -> list[Row]:
    """Return the rows of the functions in `only`, else of all. A short run measures two.

    Each kind of call is measured for `seconds`, by default 5, or 1 in a short run.
    """
    known = tuple(dict.fromkeys(case.function for case in CASES))
    unknown = sorted(set(only) - set(known))
    if unknown:
        raise SystemExit(f"{', '.join(unknown)}: not measured; known are {', '.join(known)}")
    chosen = only or (SHORT if short else known)
    if seconds is None:
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
                    body = body_of(name, case.make(runtime, name))
                    rows += load(runtime, case, body, seconds, workers)
                    if workers == 2 and case.network == PACKAGED:  # each has one thread
                        share = outside_the_networks(runtime.address(name), body, seconds)
                        rows.append(share_row(case, share))
                if workers == 1:
                    memory = peak_memory(runtime) / 2**20
                    rows.append(row(f"{cases[0].short} worker peak memory", memory, "MiB", False))
    return rows


def body_of(name: str, payload: Payload) -> Body:
    """Return the body that the app would send to a function."""
    annotations = read_config(folders()[name]).document["metadata"]["annotations"]
    if announces_binary(annotations):
        return encode(payload), BINARY_TYPE
    return json.dumps(payload).encode(), "application/json"


@contextmanager
def weights_of(case: Case) -> Iterator[Mapping[str, str]]:
    """Yield the environment variables that name the stand-ins of a function, if it needs any."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = folders()[case.function]
        builder = EnvironmentBuilder(cache_folder() / "environments")
        python = builder.prepare(folder, read_config(folder).python, progress).interpreter
        needed = case.network != PACKAGED
        yield stand_ins(case.function, python, Path(scratch)) if needed else {}


def progress(line: str) -> None:
    """Print progress to standard error, apart from the results."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def serving(name: str, workers: int, variables: Mapping[str, str]) -> Iterator[Runtime]:
    """Serve one function with this number of workers. Yield when it is ready."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = with_workers(folders()[name], Path(scratch) / "function", workers)
        if name in TIMED and workers == 2:
            shutil.copyfile(Path(__file__).with_name("timed_main.py"), folder / "main.py")
        with running([folder], Path(scratch) / "state", env=variables) as runtime:
            runtime.wait_for_state(name)
            yield runtime


def load(runtime: Runtime, case: Case, body: Body, seconds: float, workers: int) -> list[Row]:
    """Return the rows of one kind of call: its rate, and with one worker also its time."""
    url = runtime.address(case.function)
    call_for(url, body, 0.0, at_once=workers)  # warm-up: one call per worker
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
    """Copy a function folder with its link targets, and set its number of workers."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    document = yaml.safe_load((target / "function.yaml").read_text())
    for trigger in document["spec"]["triggers"].values():
        trigger["numWorkers"] = trigger["maxWorkers"] = workers
    (target / "function.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return target


def outside_the_networks(url: str, body: Body, seconds: float) -> float:
    """Return the share of a timed function's processor time outside its networks, in percent."""
    inside = whole = 0.0
    with requests.Session() as session:
        session.headers["Content-Type"] = body[1]
        end = time.perf_counter() + seconds
        while not whole or time.perf_counter() < end:
            answer = session.post(url, data=body[0], timeout=CALL_TIMEOUT_S)
            answer.raise_for_status()
            in_networks, in_handler = map(float, answer.headers["X-Processor-Time"].split())
            inside, whole = inside + in_networks, whole + in_handler
    return 100 * (1 - inside / whole)


def call_for(url: str, body: Body, seconds: float, *, at_once: int) -> list[float]:
    """Call a function with ``at_once`` concurrent callers. Return the seconds of each call."""
    started = threading.Barrier(at_once)

    def caller(_: int) -> list[float]:
        times: list[float] = []
        with requests.Session() as session:
            session.headers["Content-Type"] = body[1]
            started.wait()
            end = time.perf_counter() + seconds
            while not times or time.perf_counter() < end:
                began = time.perf_counter()
                session.post(url, data=body[0], timeout=CALL_TIMEOUT_S).raise_for_status()
                times.append(time.perf_counter() - began)
        return times

    with ThreadPoolExecutor(at_once) as pool:
        return [each for times in pool.map(caller, range(at_once)) for each in times]


def peak_memory(runtime: Runtime) -> int:
    """Return the largest peak of resident memory of the runtime's processes, in bytes (Linux)."""
    return max(_status(process, "VmHWM:") * 1024 for process in _below(runtime))


def processor_seconds(runtime: Runtime) -> float:
    """Return the processor time of all of the runtime's processes, in seconds (Linux)."""
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
        # The command is in brackets and may have spaces. Fields 14 and 15 are user and system time.
        after = (process / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0  # the process has ended
    return int(after[11]) + int(after[12])


def _status(process: Path, key: str) -> int:
    try:
        lines = (process / "status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(key)), 0)


def row(name: str, value: float, unit: str, higher_is_better: bool) -> Row:
    """Return a row. The speed of a model has no goal."""
    return {
        "name": name.replace(" ", "_"),
        "value": round(value, 3 if unit == "calls/s" else 1),
        "unit": unit,
        "goal": None,
        "higher_is_better": higher_is_better,
    }


def share_row(case: Case, percent: float) -> Row:
    """Return the row of a share outside the networks."""
    found = row(f"{case.key} outside the network", percent, "%", False)
    return {**found, "goal": MAX_OUTSIDE}


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table with a line for each kind of call."""
    values = {each["name"]: each["value"] for each in rows}
    lines = [
        "| function | call | measured with | processor time | median | calls/s, 1 worker "
        "| calls/s, 2 workers | memory of a worker | outside the network |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for case in CASES:
        if f"{case.key}_p50" not in values:
            continue
        share = values.get(f"{case.key}_outside_the_network")
        cells = [
            f"`{case.function}`",
            case.call,
            case.network,
            f"{values[f'{case.key}_processor_time']:.0f} ms",
            f"{values[f'{case.key}_p50']:.0f} ms",
            f"{values[f'{case.key}_1_workers']:.2g}",
            f"{values[f'{case.key}_2_workers']:.2g}",
            f"{values[f'{case.short}_worker_peak_memory']:.0f} MiB",
            "" if share is None else f"{share:.0f} %",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def busy(load: float, cores: int) -> str | None:
    """Return why the machine is too busy for a table, or None if it is not."""
    if load <= MAX_LOAD * cores:
        return None
    return (
        f"the load average of the last minute is {load:.2f}; above {MAX_LOAD * cores:.2f} "
        f"({MAX_LOAD:g} a core) other work would be in the table: wait, or say --force"
    )


def print_table(*, short: bool, only: Sequence[str], seconds: float | None, force: bool) -> None:
    """Measure, and print the table with the load averages before and after."""
    cores, before = os.cpu_count() or 1, os.getloadavg()
    problem = busy(before[0], cores)
    if problem is not None and not force:
        raise SystemExit(problem)
    made = table(run(short, only, seconds))
    after = os.getloadavg()
    averages = (" ".join(f"{value:.2f}" for value in load) for load in (before, after))
    start, end = averages
    print(f"{cores} cores; load average (1, 5, 15 minutes) {start} at the start, {end} at the end.")
    print(f"\n{made}")


def main(arguments: Sequence[str]) -> None:
    """Print each row as a line of JSON, or print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.functions")
    parser.add_argument("--short", action="store_true", help="a second each, and two functions")
    parser.add_argument("--only", action="append", default=[], metavar="ID", help="this function")
    parser.add_argument("--seconds", type=float, help="for each kind of call (default: 5)")
    parser.add_argument("--table", action="store_true", help="the table of docs/functions.md")
    parser.add_argument("--force", action="store_true", help="a table on a busy machine")
    given = parser.parse_args(arguments)
    if given.table:
        print_table(short=given.short, only=given.only, seconds=given.seconds, force=given.force)
    else:
        print("\n".join(map(json.dumps, run(given.short, given.only, given.seconds))))


if __name__ == "__main__":
    main(sys.argv[1:])
