"""Synchronous calls: the time that the app adds to the call of a bare client.

The app is a real web server process with threads, PostgreSQL and Redis. The function is a process
of its own with a fixed latency. The client keeps one connection and a token. A frame is a 1280x720
JPEG of about 200 KB. Each detector call is on another frame, so that no frame is cached.

A bare client reads the same file, encodes it, and posts the same body to the function on a kept
connection. Calls of both clients alternate, so that other load on the machine affects both. The
overhead of a call is its time minus the time of the bare call before it. For people who call while
a request runs, it is their time minus the median of bare calls before the request.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import psutil

from cvat_lambda.gateway.payload import BINARY_TYPE, content_type, decode_binary, encode_payload
from tests.bench.embedding_function import new_embedding
from tests.bench.stand import (
    DISTINCT,
    REPOSITORY,
    Stand,
    function_process,
    stand,
    worker_process,
)

LATENCY_MS = 50.0
ENCODE_MS, CLICK_MS = 200.0, 20.0
PEOPLE: Final = 8
PAUSE_S: Final = 0.3  # between two calls of a person
CLICK: Final = {"pos_points": [[600, 300]], "neg_points": []}


@dataclass(frozen=True, kw_only=True)
class ClickKind:
    """A form of the calls of an interactor."""

    ending: str  # of the names of its rows
    binary: bool  # bytes, not base64 in JSON
    keeps: bool  # the function keeps embeddings, so that a later click sends a key alone
    goal_ms: float | None = None


CLICKS: Final = (
    # The functions of ``serverless/`` are of this kind.
    ClickKind(ending="", binary=True, keeps=True, goal_ms=5.0),
    ClickKind(ending="_sent", binary=True, keeps=False),
    ClickKind(ending="_json", binary=False, keeps=False),
)


def run(short: bool) -> list[dict[str, Any]]:
    """Run all measurements in a process of its own. Return their rows."""
    command = [sys.executable, "-m", "tests.bench.calls", *(["--short"] if short else [])]
    answer = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in answer.stdout.splitlines() if line.startswith(b"{")]


def row(name: str, value: float, goal: float | None) -> dict[str, Any]:
    """Return a row in the format of all benchmarks."""
    return {
        "name": name,
        "value": round(value, 3),
        "unit": "ms",
        "goal": goal,
        "higher_is_better": False,
    }


class BareClient:
    """A client that calls the function directly and does only what every client must do."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def call_ms(self, body: Callable[[], bytes]) -> float:
        """Return the time to build a body and to post it, in milliseconds."""
        begun_at = time.perf_counter()
        sent = body()
        self._connection.request("POST", "/", sent, {"Content-Type": content_type(sent)})
        answer = self._connection.getresponse()
        text = answer.read()
        (decode_binary if answer.headers["Content-Type"] == BINARY_TYPE else json.loads)(text)
        assert answer.status == 200, answer.status
        return (time.perf_counter() - begun_at) * 1000


def image_body(path: Path, *, binary: bool = False) -> bytes:
    """Read an image and return the body that a function gets for it."""
    return encode_payload({}, {"image": path.read_bytes()}, binary=binary)


class Client:
    """A client of the app with one kept connection."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}

    def call_ms(self, function_id: str, **members: Any) -> float:
        """Return the time of one call, in milliseconds."""
        body = json.dumps(members)
        begun_at = time.perf_counter()
        self._connection.request(
            "POST", f"/api/lambda/functions/{function_id}", body, self._headers
        )
        answer = self._connection.getresponse()
        text = answer.read()
        took = time.perf_counter() - begun_at
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {text[:500].decode(errors='replace')}")
        return took * 1000


@contextmanager
def web_server(home: Any, *, threads: int = 4) -> Iterator[tuple[int, psutil.Process]]:
    """Start the app's web server. Yield its port and its process."""
    from cvat_lambda.server.processes import Child, bound_socket, wait_for_port
    from cvat_lambda.server.services import web_command

    with bound_socket() as listener:
        port = listener.getsockname()[1]
        child = Child.start(
            "web",
            web_command(listener.fileno(), threads=threads),
            env=dict(os.environ),
            log=home / "web.log",
            cwd=REPOSITORY,
            keep_open=(listener.fileno(),),
        )
    try:
        wait_for_port(port, child=child)
        yield port, psutil.Process(child.process.pid)
    finally:
        child.stop()


@contextmanager
def embedding_process() -> Iterator[int]:
    """Start an interactor that returns embeddings, as a process. Yield its port."""
    command = [sys.executable, "-m", "tests.bench.embedding_function"]
    command += ["--encode-ms", str(ENCODE_MS), "--click-ms", str(CLICK_MS)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(60)


def add_interactor(port: int, *, binary: bool, keeps: bool) -> str:
    """Register the interactor's process with the app. Return its function id.

    ``keeps``: it keeps embeddings, so that a later click has a key alone.
    """
    from cvat_lambda.functions.models import Function

    trigger = {"kind": "http", "numWorkers": 2, "attributes": {"maxRequestBodySize": 33554432}}
    annotations = {"type": "interactor", "version": "2", "embedding": "true"}
    name = f"embeds-{binary}-{keeps}"
    Function.objects.create(
        id=name,
        platform="endpoint",
        kind="interactor",
        endpoint_url=f"http://127.0.0.1:{port}/",
        metadata={
            "metadata": {
                "name": name,
                "annotations": {
                    **annotations,
                    "binary": str(binary).lower(),
                    "keeps_embeddings": str(keeps).lower(),
                },
            },
            "spec": {"triggers": {"h": trigger}},
            "status": {"state": "ready"},
        },
    )
    return name


def image_paths(task_id: int) -> list[Path]:
    """Return the files of a task's frames."""
    from cvat_lambda.engine.standalone.media.storage import data_folder
    from cvat_lambda.engine.standalone.models import Image

    images = Image.objects.filter(data__task_id=task_id).order_by("number")
    found = images.values_list("data__folder", "path")
    return [data_folder(folder) / path for folder, path in found]


def cpu_s(process: psutil.Process) -> float:
    """Return the processor time of a process and its children, in seconds."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def percentile(values: list[float], percent: int) -> float:
    """Return a percentile of the values."""
    return statistics.quantiles(values, n=100)[percent - 1]


def measure(prepared: Stand, *, short: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows."""
    from cvat_lambda.engine.standalone.models import AccessToken

    calls = 40 if short else 400
    task = prepared.task(DISTINCT if short else 200)
    frames = 24 if short else 200
    token = AccessToken.create_login_key(prepared.owner)[1]
    with (
        function_process(LATENCY_MS, 2) as detector_port,
        embedding_process() as interactor_port,
        web_server(prepared.home) as (port, server),
    ):
        detector = prepared.function(detector_port, 2)
        paths = image_paths(task.pk)
        client, bare = Client(port, token), BareClient(detector_port)
        for number in range(10):  # warm up imports, connections and caches
            client.call_ms(detector, task=task.pk, frame=number)
            bare.call_ms(partial(image_body, paths[number]))
        over, cpu_before_s = [], cpu_s(server)
        bare_ms = []
        for number in range(calls):
            frame = number % frames
            bare_ms.append(bare.call_ms(partial(image_body, paths[frame])))
            over.append(client.call_ms(detector, task=task.pk, frame=frame) - bare_ms[-1])
        used_ms = (cpu_s(server) - cpu_before_s) * 1000 / calls
        yield row("bare_call_over_latency_p50_ms", statistics.median(bare_ms) - LATENCY_MS, None)
        yield row("call_overhead_p50_ms", statistics.median(over), 5.0)
        yield row("call_overhead_p95_ms", percentile(over, 95), 10.0)
        yield row("call_processor_ms", used_ms, 5.0)
        prompt: dict[str, Any] = {"task": task.pk, **CLICK}
        for kind in CLICKS:
            yield from measure_clicks(
                client, interactor_port, prompt, kind, clicks=calls // 2, short=short
            )
    yield from measure_people(prepared, token, short=short)


def measure_clicks(
    client: Client,
    port: int,
    prompt: dict[str, Any],
    kind: ClickKind,
    *,
    clicks: int,
    short: bool,
) -> Iterator[dict[str, Any]]:
    """Yield the overhead of first clicks and of later ones.

    The bare client posts the body that the app posts: a key, or 4 MiB.
    """
    binary = kind.binary
    interactor = add_interactor(port, binary=binary, keeps=kind.keeps)
    bare = BareClient(port)
    first = [
        client.call_ms(interactor, frame=number, **prompt) - ENCODE_MS
        for number in range(4 if short else 20)
    ]
    if kind.keeps:
        sent: dict[str, Any] = {"embedding_key": "0" * 32}
    else:
        sent = {"embedding": new_embedding(binary=binary)}
    body = encode_payload({**CLICK, **sent}, binary=binary)
    later = []
    for number in range(clicks):
        before_ms = bare.call_ms(lambda: body)
        frame = number % len(first)
        later.append(client.call_ms(interactor, frame=frame, **prompt) - before_ms)
    yield row(f"embedding_first_click{kind.ending}_p50_ms", statistics.median(first), None)
    yield row(f"embedding_click{kind.ending}_p50_ms", statistics.median(later), kind.goal_ms)
    yield row(f"embedding_click{kind.ending}_p95_ms", percentile(later, 95), None)


def measure_people(prepared: Stand, token: str, *, short: bool) -> Iterator[dict[str, Any]]:
    """Yield the overhead of people's calls while a request runs on the same function."""
    frames, workers = 400 if short else 4000, 2 * PEOPLE
    task = prepared.task(frames)
    ended = threading.Event()
    with (
        function_process(LATENCY_MS, workers) as function_port,
        worker_process(prepared.home / "worker.log"),
        web_server(prepared.home, threads=PEOPLE) as (port, _),
    ):
        function_id = prepared.function(function_port, workers)
        bare = BareClient(function_port)
        bare_ms = statistics.median(
            bare.call_ms(partial(image_body, path)) for path in prepared.images
        )

        def person(number: int) -> list[float]:
            client, found = Client(port, token), []
            for frame in range(number, frames, PEOPLE):  # of no two people the same
                found.append(client.call_ms(function_id, task=task.pk, frame=frame) - bare_ms)
                if ended.wait(PAUSE_S) and len(found) > 1:
                    break
            return found[1:]  # the first one opens connections

        with ThreadPoolExecutor(PEOPLE) as pool:
            people = [pool.submit(person, number) for number in range(PEOPLE)]
            try:
                prepared.run(task, function_id)
            finally:
                ended.set()
            over = [each for one in people for each in one.result()]
    name = f"call_of_{PEOPLE}_people_beside_a_request"
    yield row(f"{name}_p50_ms", statistics.median(over), None)
    yield row(f"{name}_p95_ms", percentile(over, 95), 60.0)


def main() -> None:
    """Print each row as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    with stand() as prepared:
        for found in measure(prepared, short=options.short):
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
