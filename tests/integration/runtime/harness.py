"""A real runtime in a child process, and function folders that it serves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import yaml

from tests.waiting import wait_for

REPOSITORY = Path(__file__).resolve().parents[3]
START_TIMEOUT_S = 180
READY_TIMEOUT_S = 600  # the first function builds an environment


def write_function(
    root: Path, name: str, code: str, *, trigger: Mapping[str, Any] | None = None, **spec: Any
) -> Path:
    """Write a function folder below `root` and return it."""
    folder = root / name
    folder.mkdir(parents=True)
    extras = spec.pop("extras", None)
    attributes = {"maxRequestBodySize": 33554432}
    http = {"kind": "http", "numWorkers": 1, "attributes": attributes, **(trigger or {})}
    document: dict[str, Any] = {
        "metadata": {"name": name, "namespace": "cvat", "annotations": {"type": "detector"}},
        "spec": {
            "description": f"{name} for tests",
            "handler": "main:handler",
            "runtime": "python",
            "triggers": {"http": http},
            **spec,
        },
    }
    if extras is not None:
        document["x-cvat-lambda"] = extras
    (folder / "function.yaml").write_text(yaml.safe_dump(document))
    (folder / "main.py").write_text(code)
    return folder


@dataclass(slots=True)
class Runtime:
    """A running runtime, and methods that send requests to it."""

    url: str
    process: subprocess.Popen[str] | None
    state_folder: Path | None = None
    output: list[str] = field(default_factory=list)
    token: str = ""

    def request(self, method: str, path: str, **more: Any) -> requests.Response:
        """Send one request to the dashboard."""
        headers = dict(more.pop("headers", {}))
        if self.token:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        return requests.request(method, self.url + path, headers=headers, timeout=120, **more)

    def function(self, name: str) -> dict[str, Any]:
        """Return the function object of a name."""
        answer = self.request("GET", f"/api/functions/{name}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def wait_for_state(self, name: str, *states: str) -> dict[str, Any]:
        """Wait until the function has one of the given states. Return the function object."""
        wanted = states or ("ready",)
        return wait_for(
            f"state {' or '.join(wanted)} of function {name}",
            lambda: self.function(name),
            lambda found: found["status"]["state"] in wanted,
            timeout_s=READY_TIMEOUT_S,
        )

    def deploy(self, folder: Path) -> None:
        """Deploy a function from a folder of this machine, under the folder's name."""
        document = yaml.safe_load((folder / "function.yaml").read_text())
        document["spec"].setdefault("build", {})["path"] = str(folder)
        answer = self.request("PUT", f"/api/functions/{folder.name}", json=document)
        assert answer.status_code == 202, answer.text

    def remove(self, name: str) -> None:
        """Remove a function in any state, or do nothing if there is none of that name."""
        headers = {"x-nuclio-delete-function-ignore-state-validation": "true"}
        body = {"metadata": {"name": name}}
        answer = self.request("DELETE", "/api/functions", json=body, headers=headers)
        assert answer.status_code == 204, answer.text

    def address(self, name: str) -> str:
        """Return the URL of a function's own port."""
        published = str(self.function(name)["status"]["externalInvocationUrls"][0])
        host = (
            urlsplit(self.url).hostname or ""
        )  # Docker and the runtime report 0.0.0.0 for this machine
        return "http://" + published.replace("0.0.0.0", host, 1)

    def call(self, name: str, payload: Any = None, **more: Any) -> requests.Response:
        """Call a function at its own port with JSON."""
        if payload is not None:
            more["data"] = json.dumps(payload)
            more["headers"] = {"Content-Type": "application/json", **more.get("headers", {})}
        return requests.request(
            more.pop("method", "POST"), self.address(name) + more.pop("path", "/"), **more
        )

    def log(self, name: str) -> str:
        """Return the whole log of a function."""
        replica = self.request("GET", f"/api/functions/{name}/replicas").json()["names"][0]
        answer = self.request("GET", f"/api/functions/{name}/logs/{replica}?follow=false")
        assert answer.status_code == 200
        return answer.text

    def stop(self) -> int:
        """Stop the runtime as Ctrl-C does. Return its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@contextmanager
def running(
    folders: Sequence[Path], state: Path, *options: str, env: Mapping[str, str] | None = None
) -> Iterator[Runtime]:
    """Serve folders on a free port until the block ends."""
    command = [sys.executable, "-m", "cvat_lambda.runtime", "serve", *map(str, folders)]
    command += ["--port", "0", "--state-dir", str(state), *options]
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    runtime = Runtime("", process, state)
    ready = threading.Event()
    reader = threading.Thread(target=_read, args=(runtime, ready), daemon=True)
    reader.start()
    try:
        assert ready.wait(START_TIMEOUT_S), "".join(runtime.output)
        assert runtime.url, "".join(runtime.output)
        if "--token" in options:
            runtime.token = options[options.index("--token") + 1]
        yield runtime
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        reader.join(10)
        assert process.stdout is not None
        process.stdout.close()


def _read(runtime: Runtime, ready: threading.Event) -> None:
    assert runtime.process is not None
    assert runtime.process.stdout is not None
    for line in runtime.process.stdout:
        runtime.output.append(line)
        if line.startswith("runtime ready "):
            runtime.url = line.split()[-1]
            ready.set()
    ready.set()


def calls_begun(runtime: Runtime, name: str) -> int:
    """Return how many invocations of a function have requested a worker."""
    text = runtime.request("GET", "/metrics").text
    line = rf'^nuclio_processor_worker_allocation_count{{.*"{name}".*}} (\d+)$'
    return sum(map(int, re.findall(line, text, re.MULTILINE)))


def is_alive(pid: int) -> bool:
    """Return whether a process runs. A zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_for_exit(pids: Iterable[int]) -> None:
    """Wait until none of the processes runs."""
    wait_for("exit", lambda: [pid for pid in pids if is_alive(pid)], lambda alive: not alive)


def descendants(pid: int) -> set[int]:
    """Return the pids of all descendants of a process."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    found: set[int] = set()
    todo = [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found.update(children)
        todo += children
    return found
