"""A runtime that is stopped while it prepares functions ends at once, without processes left."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.integration.runtime.harness import (
    Runtime,
    calls_begun,
    descendants,
    is_alive,
    running,
    until,
    write_function,
)

CODE = "def handler(context, event):\n    return 'x'\n"
SECRETS = {
    "CVAT_LAMBDA_RUNTIME_TOKEN": "s3cret",
    "DATABASE_URL": "postgres://user:s3cret@host/db",
    "DJANGO_SECRET_KEY": "s3cret",
}
SETTINGS = {
    "PIP_FIND_LINKS": "/mirror",
    "UV_INDEX_URL": "http://mirror",
    "https_proxy": "http://proxy:1",
}


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    return tmp_path / "functions"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def write_endless_conversion(functions: Path, mark: Path) -> None:
    """Write a function. Its conversion records its environment, starts a process and never ends."""
    version = os.urandom(8).hex()  # not converted before
    extras = {"convert": {"script": "convert.py", "version": version}}
    folder = write_function(functions, "one", CODE, extras=extras)
    (folder / "convert.py").write_text(
        "import os, subprocess\n"
        f"subprocess.Popen(['sleep', '300'])\nopen({str(mark)!r}, 'w').write(repr(os.environ))\n"
        "import time\ntime.sleep(300)\n"
    )


def write_endless_installer(folder: Path, mark: Path) -> dict[str, str]:
    """Write a stand-in for uv that does the same. Return the variables that select it."""
    folder.mkdir()
    program = folder / "uv"
    program.write_text(
        f"#!/bin/sh\nenv >{mark}.part; mv {mark}.part {mark}\nsleep 300 & sleep 300\n"
    )
    program.chmod(0o755)
    cache = folder / "cache"  # a cache without environments
    return {"PATH": f"{folder}:{os.environ['PATH']}", "CVAT_LAMBDA_CACHE": str(cache)}


Busy = tuple[Runtime, set[int], str]


@pytest.fixture(params=["conversion", "installer"])
def busy(
    request: pytest.FixtureRequest, functions: Path, state: Path, tmp_path: Path
) -> Iterator[Busy]:
    """A runtime during a conversion or installation, its processes, and the command's variables."""
    mark = tmp_path / "mark"
    env = {**SECRETS, **SETTINGS}
    if request.param == "conversion":
        write_endless_conversion(functions, mark)
    else:
        write_function(functions, "one", CODE)
        env |= write_endless_installer(tmp_path / "bin", mark)
    with running([functions], state, "--token", "s3cret", env=env) as runtime:
        until(mark.exists, bool, 300)
        assert runtime.process is not None
        pid = runtime.process.pid
        left = until(lambda: descendants(pid), lambda found: len(found) >= 3)
        yield runtime, left, mark.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_end_of_the_runtime_kills_preparations_at_once(busy: Busy, number: signal.Signals) -> None:
    runtime, left, _ = busy
    assert runtime.process is not None
    runtime.process.send_signal(number)
    assert runtime.process.wait(60) == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    until(lambda: [pid for pid in left if is_alive(pid)], lambda alive: not alive)


def test_removal_kills_the_preparation(busy: Busy) -> None:
    runtime, left, _ = busy
    headers = {"x-nuclio-delete-function-ignore-state-validation": "true"}
    body = {"metadata": {"name": "one"}}
    answer = runtime.request("DELETE", "/api/functions", json=body, headers=headers)
    assert answer.status_code == 204
    until(lambda: [pid for pid in left if is_alive(pid)], lambda alive: not alive)


def test_preparation_does_not_get_the_secrets_of_the_runtime(
    busy: Busy, request: pytest.FixtureRequest
) -> None:
    _, _, seen = busy
    assert [key for key in SECRETS if key in seen] == []
    assert "s3cret" not in seen
    assert "http://proxy:1" in seen
    installs = "installer" in request.node.callspec.id
    assert [key in seen for key in ("PIP_FIND_LINKS", "UV_INDEX_URL")] == [installs, installs]


class _Slow(BaseHTTPRequestHandler):
    """Sends a file of one gigabyte slowly, or sends nothing."""

    def do_GET(self) -> None:
        ended: threading.Event = self.server.ended  # type: ignore[attr-defined]
        if self.path == "/silent":
            ended.wait(60)
            return
        self.send_response(200)
        self.send_header("Content-Length", "1000000000")
        self.end_headers()
        try:
            while not ended.wait(0.2):
                self.wfile.write(b"x" * 1000)
        except OSError:
            pass

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


def test_many_downloads_do_not_delay_logs_and_deployments(functions: Path, state: Path) -> None:
    waiting = 15  # more than asyncio's default number of threads
    with ThreadingHTTPServer(("127.0.0.1", 0), _Slow) as server:
        server.ended = threading.Event()  # type: ignore[attr-defined]
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for number in range(waiting):
            weight = {
                "file": "model.bin",
                "url": f"http://127.0.0.1:{server.server_address[1]}/silent",
                "sha256": os.urandom(32).hex(),
                "licence": "MIT",
            }
            write_function(functions, f"slow-{number}", CODE, extras={"weights": [weight]})
        with running([functions], state) as runtime:
            for number in range(waiting):
                until(partial(runtime.log, f"slow-{number}"), lambda log: "fetching" in log)
            folder = write_function(functions, "quick", CODE)
            document = {"metadata": {"name": "quick"}, "spec": {"build": {"path": str(folder)}}}
            assert runtime.request("POST", "/api/functions", json=document).status_code == 202
            runtime.wait_for("quick")
            assert runtime.log("quick")
        server.ended.set()  # type: ignore[attr-defined]
        server.shutdown()


@pytest.mark.parametrize("path", ["/slow", "/silent"])
def test_download_does_not_delay_the_end_of_the_runtime(
    functions: Path, state: Path, path: str
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Slow) as server:
        server.ended = threading.Event()  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}{path}"
        weight = {"file": "a.bin", "url": url, "sha256": os.urandom(32).hex(), "licence": "MIT"}
        write_function(functions, "one", CODE, extras={"weights": [weight]})
        try:
            with running([functions], state) as runtime:
                until(lambda: runtime.log("one"), lambda text: "fetching the weights" in text)
                threading.Event().wait(1)
                began = time.monotonic()
                assert runtime.stop() == 0
                assert time.monotonic() - began < 20
        finally:
            server.ended.set()  # type: ignore[attr-defined]
            server.shutdown()


def test_second_ctrl_c_ends_all_processes_at_once(functions: Path, state: Path) -> None:
    source = "import time\ndef handler(context, event):\n    time.sleep(600)\n    return 'x'\n"
    write_function(functions, "one", source)
    with running([functions], state) as runtime:
        runtime.wait_for("one")
        address, process = runtime.address("one"), runtime.process
        assert process is not None
        failed: list[type] = []

        def call() -> None:
            with pytest.raises(requests.ConnectionError) as caught:
                requests.post(address, timeout=60)
            failed.append(caught.type)

        caller = threading.Thread(target=call)
        caller.start()
        until(lambda: calls_begun(runtime, "one"), lambda begun: begun == 1)
        left = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        threading.Event().wait(1)
        assert process.poll() is None  # the first Ctrl-C waits for the call in flight
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 128 + signal.SIGINT
        until(lambda: [pid for pid in left if is_alive(pid)], lambda alive: not alive)
        caller.join(60)
        assert failed == [requests.ConnectionError]
