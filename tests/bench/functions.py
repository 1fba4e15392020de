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
``--transformers`` measures the functions on transformers instead, with random weights of the
published size (`tests.functions.catalogue.stand_ins.published`) and one worker.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import yaml

from cvat_lambda.runtime.binary_bodies import BINARY_TYPE, announces_binary, encode
from cvat_lambda.runtime.commands import read_config
from cvat_lambda.runtime.environments.build import EnvironmentBuilder
from cvat_lambda.runtime.paths import cache_folder
from tests.bench.function_cases import (
    CALL_TIMEOUT_S,
    CASES,
    ON_TRANSFORMERS,
    PACKAGED,
    RANDOM,
    Case,
    Payload,
)
from tests.bench.process_usage import peak_memory, processor_seconds
from tests.functions.__main__ import folders, stand_ins
from tests.functions.network_tests import TRANSFORMERS
from tests.integration.runtime.harness import REPOSITORY, Runtime, running

SHORT = ("openvino-ssdlite-person", "openvino-nanodet-coco")  # the functions of a short run
PUBLISHED = "tests.functions.catalogue.stand_ins.published"  # makes weights of the published size
MAX_OUTSIDE = 20.0  # goal: percent of the processor time outside the network
MAX_LOAD = 0.25  # highest 1-minute load average per core for --table
Row = dict[str, Any]
Body = tuple[bytes, str]  # of a call, and its content type


TIMED = {case.function for case in CASES if case.network == PACKAGED}


def run(
    short: bool,
    only: Sequence[str] = (),
    seconds: float | None = None,
    *,
    transformers: bool = False,
) -> Iterator[Row]:
    """Yield the rows of the `chosen` functions.

    Each kind of call is measured for `seconds`, by default 5, or 1 in a short run.
    """
    if seconds is None:
        seconds = 1.0 if short else 5.0
    names = chosen(only, short=short, transformers=transformers)
    for name in names:
        yield from measure(name, seconds)


def chosen(only: Sequence[str], *, short: bool, transformers: bool) -> tuple[str, ...]:
    """Return the functions to measure: those of `only`, else a group.

    The group is all functions on transformers, or all others. The short one has two of the others.
    """
    others, on_transformers = (
        tuple(dict.fromkeys(case.function for case in cases)) for cases in (CASES, ON_TRANSFORMERS)
    )
    known = (*others, *on_transformers)
    unknown = sorted(set(only) - set(known))
    if unknown:
        raise SystemExit(f"{', '.join(unknown)}: not measured; known are {', '.join(known)}")
    if only:
        return tuple(name for name in known if name in only)
    if transformers:
        return on_transformers
    return SHORT if short else others


def measure(name: str, seconds: float) -> list[Row]:
    """Return the rows of one function."""
    rows: list[Row] = []
    cases = [case for case in (*CASES, *ON_TRANSFORMERS) if case.function == name]
    short = cases[0].short
    with tempfile.TemporaryDirectory() as scratch:
        variables = weights_of(cases[0], Path(scratch))
        if cases[0].network == RANDOM:
            rows.append(row(f"{short} weights", size_of(Path(scratch)) / 1e6, "MB", False))
        for workers in cases[0].workers:
            with serving(name, workers, variables) as runtime:
                for case in cases:
                    body = body_of(name, case.make(runtime, name))
                    rows += load(runtime, case, body, seconds, workers)
                    if workers == 2 and case.network == PACKAGED:  # each has one thread
                        share = outside_the_networks(runtime.address(name), body, seconds)
                        rows.append(share_row(case, share))
                if workers == 1:
                    memory = peak_memory(runtime) / 2**20
                    rows.append(row(f"{short} worker peak memory", memory, "MiB", False))
    return rows


def body_of(name: str, payload: Payload) -> Body:
    """Return the body that the app would send to a function."""
    annotations = read_config(folders()[name]).document["metadata"]["annotations"]
    if announces_binary(annotations):
        return encode(payload), BINARY_TYPE
    return json.dumps(payload).encode(), "application/json"


def weights_of(case: Case, place: Path) -> Mapping[str, str]:
    """Make the weights of a function, if it needs any. Return the variables that name them."""
    folder = folders()[case.function]
    builder = EnvironmentBuilder(cache_folder() / "environments")
    python = builder.prepare(folder, read_config(folder).python, progress).interpreter
    if case.network == PACKAGED:
        return {}
    if case.function not in TRANSFORMERS:
        return stand_ins(case.function, python, place)
    command = [str(python), "-m", PUBLISHED, case.function, str(place)]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True)
    variable, _, path = done.stdout.strip().rpartition("\n")[2].partition("=")
    return {variable: path}


def size_of(folder: Path) -> int:
    """Return the bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


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


def with_workers(source: Path, target: Path, workers: int, *, kind: str = "processes") -> Path:
    """Copy a function folder with its link targets, and set number and kind of its workers."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    document = yaml.safe_load((target / "function.yaml").read_text())
    for trigger in document["spec"]["triggers"].values():
        trigger["numWorkers"] = trigger["maxWorkers"] = workers
    document.setdefault("x-cvat-lambda", {})["workers"] = kind
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


#: columns of the table after those that name the call: heading, rows' name, number format
COLUMNS = (
    ("weights", "{short}_weights", "{:.0f} MB"),
    ("processor time", "{key}_processor_time", "{:.0f} ms"),
    ("median", "{key}_p50", "{:.0f} ms"),
    ("calls/s, 1 worker", "{key}_1_workers", "{:.2g}"),
    ("calls/s, 2 workers", "{key}_2_workers", "{:.2g}"),
    ("memory of a worker", "{short}_worker_peak_memory", "{:.0f} MiB"),
    ("outside the network", "{key}_outside_the_network", "{:.0f} %"),
)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table with a line for each kind of call.

    A column without any value is left out.
    """
    values = {each["name"]: each["value"] for each in rows}
    lines = []
    for case in (*CASES, *ON_TRANSFORMERS):
        if f"{case.key}_p50" in values:
            names = [name.format(key=case.key, short=case.short) for _, name, _ in COLUMNS]
            cells = [
                form.format(values[name]) if name in values else ""
                for name, (_, _, form) in zip(names, COLUMNS, strict=True)
            ]
            lines.append([f"`{case.function}`", case.call, case.network, *cells])
    headings = ["function", "call", "measured with", *(heading for heading, _, _ in COLUMNS)]
    rulers = ["---"] * 3 + ["---:"] * len(COLUMNS)
    kept = [place for place in range(len(headings)) if any(line[place] for line in lines)]
    return "\n".join(
        [
            f"| {' | '.join(headings[place] for place in kept)} |",
            f"|{'|'.join(rulers[place] for place in kept)}|",
            *(f"| {' | '.join(line[place] for place in kept)} |" for line in lines),
        ]
    )


def busy(load: float, cores: int) -> str | None:
    """Return why the machine is too busy for a table, or None if it is not."""
    if load <= MAX_LOAD * cores:
        return None
    return (
        f"the load average of the last minute is {load:.2f}; above {MAX_LOAD * cores:.2f} "
        f"({MAX_LOAD:g} a core) other work would be in the table: wait, or say --force"
    )


def print_table(rows: Iterator[Row], *, force: bool) -> None:
    """Measure, and print the table with the load averages before and after."""
    cores, before = os.cpu_count() or 1, os.getloadavg()
    problem = busy(before[0], cores)
    if problem is not None and not force:
        raise SystemExit(problem)
    made = table(list(rows))
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
    parser.add_argument(
        "--transformers", action="store_true", help="the functions on transformers, not the others"
    )
    parser.add_argument("--seconds", type=float, help="for each kind of call (default: 5)")
    parser.add_argument("--table", action="store_true", help="the table of docs/functions.md")
    parser.add_argument("--force", action="store_true", help="a table on a busy machine")
    given = parser.parse_args(arguments)

    rows = run(given.short, given.only, given.seconds, transformers=given.transformers)
    if given.table:
        print_table(rows, force=given.force)
        return
    for each in rows:
        print(json.dumps(each), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
