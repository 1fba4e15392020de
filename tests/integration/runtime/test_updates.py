"""Updates of a function: calls of the old version are answered, and its processes end."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from cvat_lambda.runtime.deploy.prepare import PreparedFunction
from cvat_lambda.runtime.deploy.processor_handle import ProcessorHandle
from cvat_lambda.runtime.deploy.settings import RuntimeSettings, bind_listener, processor_settings
from cvat_lambda.runtime.environments.build import EnvironmentBuilder
from cvat_lambda.runtime.paths import cache_folder
from cvat_lambda.runtime.spec.function_file import parse_function, read_document
from tests.integration.runtime.conftest import Serve
from tests.integration.runtime.harness import (
    Runtime,
    calls_begun,
    descendants,
    is_alive,
    running,
    wait_for_exit,
    write_function,
)
from tests.waiting import wait_for

CODE = """
import json, os, time
def handler(context, event):
    body = event.body if isinstance(event.body, dict) else {}
    print("begun", flush=True)
    time.sleep(body.get("seconds", 0))
    answer = {"pid": os.getpid(), "version": VERSION, "got": event.size}
    return json.dumps({**answer, "filler": "x" * body.get("answer_bytes", 0)})
"""


def code(version: int = 1) -> str:
    return f"VERSION = {version}\n{CODE}"


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    return tmp_path / "functions"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def update(runtime: Runtime, folder: Path, source: str) -> None:
    """Deploy other code and wait until it is served."""
    (folder / "main.py").write_text(source)
    runtime.deploy(folder)
    runtime.wait_for_state(folder.name, "ready", "error")


def test_update_fails_no_call(runtime: Runtime, serve: Serve) -> None:
    folder = serve(code(1), trigger={"numWorkers": 2})
    address, stop = runtime.address(folder.name), threading.Event()

    def call_on() -> list[int]:
        versions: list[int] = []
        with requests.Session() as session:
            while not stop.is_set():
                answer = session.post(address, json={"seconds": 0.02}, timeout=300)
                assert answer.status_code == 200, answer.text
                versions.append(answer.json()["version"])
        return versions

    with ThreadPoolExecutor(2) as pool:
        callers = [pool.submit(call_on) for _ in range(2)]
        try:
            (folder / "main.py").write_text(code(2))
            runtime.deploy(folder)
            wait_for(
                "an answer of the new version",
                lambda: runtime.call(folder.name, {}).json()["version"],
                lambda version: version == 2,
            )
        finally:
            stop.set()
        seen = [caller.result() for caller in callers]
    assert all(versions == sorted(versions) for versions in seen)
    assert runtime.address(folder.name) == address


def test_update_is_ready_only_after_the_old_version_has_closed_its_socket(
    runtime: Runtime, serve: Serve, tmp_path: Path
) -> None:
    folder, loaded = serve(code(1)), tmp_path / "loaded"
    processor = psutil.Process(runtime.call(folder.name, {}).json()["pid"]).parent()
    assert processor is not None
    processor.suspend()
    try:
        (folder / "main.py").write_text(f"{code(2)}\nopen({str(loaded)!r}, 'w').close()\n")
        runtime.deploy(folder)
        wait_for("the new version", loaded.exists, bool)
        threading.Event().wait(1)
        assert runtime.function(folder.name)["status"]["state"] == "building"
    finally:
        processor.resume()
    runtime.wait_for_state(folder.name)
    assert runtime.call(folder.name, {}).json()["version"] == 2


def test_failed_update_keeps_the_old_version_serving(runtime: Runtime, serve: Serve) -> None:
    folder = serve(code(1))
    (folder / "main.py").write_text("import nothing_of_that_name\n")
    runtime.deploy(folder)
    found = runtime.wait_for_state(folder.name, "error")
    assert "the version before it keeps serving" in found["status"]["message"]
    assert runtime.call(folder.name, {}).json()["version"] == 1


# --- calls during an update ----------------------------------------------------------------------


def test_call_with_a_slow_body_is_answered_during_an_update(runtime: Runtime, serve: Serve) -> None:
    folder = serve(code(1))
    host, port = runtime.address(folder.name).removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as raw:
        head = f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\n"
        raw.sendall(head.encode() + b"x" * 500)
        update(runtime, folder, code(2))
        pause = threading.Event()
        for _ in range(20):  # longer than the limit of an idle connection
            pause.wait(0.3)
            raw.sendall(b"x" * 25)
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["got"] == 1000


def test_answer_that_is_read_slowly_is_complete_during_an_update(
    runtime: Runtime, serve: Serve
) -> None:
    folder = serve(code(1))
    size = 30_000_000  # much more than the socket buffers hold
    body = json.dumps({"answer_bytes": size}).encode()
    host, port = runtime.address(folder.name).removeprefix("http://").split(":")
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        raw.settimeout(60)
        raw.connect((host, int(port)))
        head = f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        raw.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        first = raw.recv(1000)
        update(runtime, folder, code(2))
        threading.Event().wait(6)  # longer than the grace period and aiohttp's timeout
        rest = sum(map(len, iter(lambda: raw.recv(2**20), b"")))
    assert first.startswith(b"HTTP/1.1 200 ")
    assert len(first) + rest > size


# --- processes of the old version ----------------------------------------------------------------


@contextmanager
def draining(runtime: Runtime, folder: Path) -> Iterator[int]:
    """Update a served function during an endless call. Yield the pid of the old worker."""
    name = folder.name
    with ThreadPoolExecutor(1) as pool:
        pid = runtime.call(name, {}).json()["pid"]
        endless: Future[Any] = pool.submit(runtime.call, name, {"seconds": 600}, timeout=120)
        wait_for(
            "the start of the calls", lambda: calls_begun(runtime, name), lambda begun: begun == 2
        )
        update(runtime, folder, code(2))
        threading.Event().wait(1)  # longer than the grace period: it drains
        assert is_alive(pid)
        assert not endless.done()
        yield pid
        with pytest.raises(requests.ConnectionError):
            endless.result(60)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_end_of_the_supervisor_during_a_drain_leaves_no_process(
    functions: Path, state: Path, number: signal.Signals
) -> None:
    folder = write_function(functions, "one", code(1))
    with running([functions], state) as runtime:
        runtime.wait_for_state("one")
        with draining(runtime, folder) as pid:
            assert runtime.process is not None
            left = descendants(runtime.process.pid)
            assert pid in left
            runtime.process.send_signal(number)
            runtime.process.wait(60)
            wait_for_exit(left)


def test_removal_during_a_drain_leaves_no_process(runtime: Runtime, serve: Serve) -> None:
    folder = serve(code(1))
    with draining(runtime, folder) as pid:
        body = {"metadata": {"name": folder.name}}
        assert runtime.request("DELETE", "/api/functions", json=body).status_code == 204
        assert not is_alive(pid)


def test_processor_that_drains_longer_than_its_limit_is_ended(tmp_path: Path) -> None:
    folder = write_function(tmp_path, "one", code(), trigger={"workerTerminationTimeout": "1s"})
    config = parse_function(read_document(folder / "function.yaml"), folder)
    builder = EnvironmentBuilder(cache_folder() / "environments")
    prepared = PreparedFunction(
        interpreter=builder.prepare(folder, None, print).interpreter,
        environment={"PYTHONPATH": str(folder)},
        revision="",
    )
    host = RuntimeSettings(
        host="127.0.0.1",
        token="",
        dashboard="127.0.0.1:1",
        logs_folder=tmp_path,
        opt_nuclio="none",
        full_errors=False,
    )

    async def drain_with_a_call_in_flight() -> bool:
        handle = ProcessorHandle(lambda _handle, _state, _message: None)
        with bind_listener(host.host, config.trigger) as listener:
            settings = processor_settings(config, prepared, host, tmp_path / "one.log")
            await handle.start(settings, listener)
            assert await handle.first_state == ("ready", "")
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        call = asyncio.ensure_future(
            asyncio.to_thread(requests.post, url, json={"seconds": 600}, timeout=60)
        )
        log = tmp_path / "one.log"
        await asyncio.to_thread(wait_for, "the call", log.read_text, lambda text: "begun" in text)
        await asyncio.wait_for(handle.drain(0.5), 60)
        with pytest.raises(requests.ConnectionError):
            await call
        return handle.gone.is_set()

    assert asyncio.run(drain_with_a_call_in_flight())
    assert "calls that did not end within 0.5 s are aborted" in (tmp_path / "one.log").read_text()
