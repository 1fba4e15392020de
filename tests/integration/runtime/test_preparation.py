"""A runtime that is stopped while it prepares functions ends at once, without processes left."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import requests

from tests.http_server import Connection, http_server
from tests.integration.runtime.harness import (
    Runtime,
    calls_begun,
    descendants,
    running,
    wait_for_exit,
    write_function,
)
from tests.waiting import wait_for

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
        wait_for("the start of the code under test", mark.exists, timeout_s=300)
        assert runtime.process is not None
        pid = runtime.process.pid
        left = wait_for("the processes", lambda: descendants(pid), lambda found: len(found) >= 3)
        yield runtime, left, mark.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_end_of_the_runtime_kills_preparations_at_once(busy: Busy, number: signal.Signals) -> None:
    runtime, left, _ = busy
    assert runtime.process is not None
    runtime.process.send_signal(number)
    assert runtime.process.wait(60) == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    wait_for_exit(left)


def test_removal_kills_the_preparation(busy: Busy) -> None:
    runtime, left, _ = busy
    headers = {"x-nuclio-delete-function-ignore-state-validation": "true"}
    body = {"metadata": {"name": "one"}}
    answer = runtime.request("DELETE", "/api/functions", json=body, headers=headers)
    assert answer.status_code == 204
    wait_for_exit(left)


def test_preparation_does_not_get_the_secrets_of_the_runtime(
    busy: Busy, request: pytest.FixtureRequest
) -> None:
    _, _, seen = busy
    assert [key for key in SECRETS if key in seen] == []
    assert "s3cret" not in seen
    assert "http://proxy:1" in seen
    installs = "installer" in request.node.callspec.id
    assert [key in seen for key in ("PIP_FIND_LINKS", "UV_INDEX_URL")] == [installs, installs]


def send_slowly(connection: Connection) -> None:
    """Send a file of 1 GB slowly."""
    connection.begin(200, {"Content-Length": "1000000000"})
    while not connection.server.released.wait(0.2):
        connection.wfile.write(b"x" * 1000)


def send_nothing(connection: Connection) -> None:
    """Send nothing for an hour, or until the server stops."""
    connection.server.released.wait(3600)


def test_many_downloads_do_not_delay_logs_and_deployments(functions: Path, state: Path) -> None:
    waiting = 15  # more than asyncio's default number of threads
    with http_server(lambda request: send_nothing) as server:
        for number in range(waiting):
            weight = {
                "file": "model.bin",
                "url": f"{server.url}/model.bin",
                "sha256": os.urandom(32).hex(),
                "licence": "MIT",
            }
            write_function(functions, f"slow-{number}", CODE, extras={"weights": [weight]})
        with running([functions], state) as runtime:
            for number in range(waiting):
                wait_for(
                    "the line in the log",
                    partial(runtime.log, f"slow-{number}"),
                    lambda log: "fetching" in log,
                )
            folder = write_function(functions, "quick", CODE)
            document = {"metadata": {"name": "quick"}, "spec": {"build": {"path": str(folder)}}}
            assert runtime.request("POST", "/api/functions", json=document).status_code == 202
            runtime.wait_for_state("quick")
            assert runtime.log("quick")


@pytest.mark.parametrize("answer", [send_slowly, send_nothing])
def test_download_does_not_delay_the_end_of_the_runtime(
    functions: Path, state: Path, answer: Callable[[Connection], None]
) -> None:
    with http_server(lambda request: answer) as server:
        url = f"{server.url}/model.bin"
        weight = {"file": "a.bin", "url": url, "sha256": os.urandom(32).hex(), "licence": "MIT"}
        write_function(functions, "one", CODE, extras={"weights": [weight]})
        with running([functions], state) as runtime:
            wait_for("download", lambda: runtime.log("one"), lambda log: "fetching" in log)
            threading.Event().wait(1)
            assert runtime.stop() == 0  # it waits 60 s, the download would take much longer


def test_second_ctrl_c_ends_all_processes_at_once(functions: Path, state: Path) -> None:
    source = "import time\ndef handler(context, event):\n    time.sleep(600)\n    return 'x'\n"
    write_function(functions, "one", source)
    with running([functions], state) as runtime:
        runtime.wait_for_state("one")
        address, process = runtime.address("one"), runtime.process
        assert process is not None
        failed: list[type] = []

        def call() -> None:
            with pytest.raises(requests.ConnectionError) as caught:
                requests.post(address, timeout=60)
            failed.append(caught.type)

        caller = threading.Thread(target=call)
        caller.start()
        wait_for(
            "the start of the calls", lambda: calls_begun(runtime, "one"), lambda begun: begun == 1
        )
        left = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        threading.Event().wait(1)
        assert process.poll() is None  # the first Ctrl-C waits for the call in flight
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 128 + signal.SIGINT
        wait_for_exit(left)
        caller.join(60)
        assert failed == [requests.ConnectionError]
