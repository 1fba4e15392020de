"""Workers that end early: crashes, memory limit, timeouts, and their restarts."""

from __future__ import annotations

import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.integration.runtime.conftest import Serve, Write
from tests.integration.runtime.harness import (
    Runtime,
    descendants,
    is_alive,
    running,
    write_function,
)
from tests.waiting import wait_for

CODE = """
import json, os, subprocess, sys, time
HOLD = "import time; x = bytearray(b'a') * (%d << 20); time.sleep(30)"
def handler(context, event):
    body = event.body if isinstance(event.body, dict) else {}
    if body.get("do") == "fill":
        context.user_data.ballast = bytearray(b"a") * (body["mib"] << 20)
    if body.get("do") == "spawn":
        subprocess.run([sys.executable, "-c", HOLD % body["mib"]])
    if body.get("do") == "leave":
        subprocess.run([sys.executable, "-c", HOLD % body["mib"]], start_new_session=True)
    time.sleep(body.get("seconds", 0))
    return json.dumps({"pid": os.getpid()})
"""


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    return tmp_path / "functions"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


# --- memory --------------------------------------------------------------------------------------


# The worker, a child process of it, or a child process in its own session.
@pytest.mark.parametrize("do", ["fill", "spawn", "leave"])
def test_worker_over_its_memory_limit_is_replaced_and_named_in_the_answer(
    runtime: Runtime, serve: Serve, do: str
) -> None:
    name = serve(CODE, extras={"worker_memory": "128Mi"}).name
    answer = runtime.call(name, {"do": do, "mib": 300, "seconds": 30})
    assert answer.status_code == 502
    assert "over its limit of 128.0 MiB" in answer.text
    assert runtime.call(name, {}).status_code == 200


def test_model_over_the_memory_limit_while_loading_is_an_error(
    runtime: Runtime, serve: Serve
) -> None:
    source = (
        "import time\n"
        "def init_context(context):\n"
        "    context.user_data.model = bytearray(b'a') * (300 << 20)\n"
        "    time.sleep(30)\n"
    )
    name = serve(source + CODE, state="error", extras={"worker_memory": "128Mi"}).name
    message = runtime.function(name)["status"]["message"]
    assert "over its limit of 128.0 MiB while it loaded the function" in message


# --- time ----------------------------------------------------------------------------------------


def test_worker_killed_for_its_timeout_is_not_reported_as_out_of_memory(
    runtime: Runtime, serve: Serve
) -> None:
    name = serve(CODE, eventTimeout="500ms").name
    assert runtime.call(name, {"seconds": 30}).status_code == 408
    log = wait_for(
        "the line in the log", lambda: runtime.log(name), lambda text: "is restarted" in text
    )
    assert "worker 0 was killed because a call took too long; it is restarted" in log
    assert "out of memory" not in log


# --- a full disk ---------------------------------------------------------------------------------

LOUD = """
import os
def handler(context, event):
    if event.body == b"log":
        context.logger.info("a record")
        print("a line", flush=True)
    if event.body == b"die":
        os._exit(7)
    return str(os.getpid())
"""


def test_unwritable_log_fails_no_call_and_no_worker(runtime: Runtime, write: Write) -> None:
    folder = write(LOUD)
    assert runtime.state_folder is not None
    log = runtime.state_folder / "logs" / f"{folder.name}.log"
    log.parent.mkdir(exist_ok=True)
    log.symlink_to("/dev/full")
    runtime.deploy(folder)
    runtime.wait_for_state(folder.name)
    first = runtime.call(folder.name, data=b"log")
    assert (first.status_code, runtime.call(folder.name).text) == (200, first.text)
    assert runtime.call(folder.name, data=b"die").status_code == 502
    assert runtime.call(folder.name, data=b"log").status_code == 200  # its worker was replaced


# --- crashes -------------------------------------------------------------------------------------

CRASHES = """
import os, threading
def init_context(context):
    if not os.path.exists(%r):
        threading.Timer(0.05, lambda: os._exit(7)).start()
"""


def test_crash_looping_worker_is_restarted_with_backoff_until_it_runs(
    runtime: Runtime, serve: Serve, tmp_path: Path
) -> None:
    mended = tmp_path / "mended"
    name = serve(CRASHES % str(mended) + CODE, state="unhealthy").name
    assert "worker 0 exited with status 7" in runtime.function(name)["status"]["message"]
    before = runtime.log(name).count("is restarted")
    threading.Event().wait(8)
    # with pauses of 1.6, 3.2 and 6.4 seconds
    assert runtime.log(name).count("is restarted") - before <= 3
    assert runtime.function(name)["status"]["state"] == "unhealthy"
    mended.touch()
    wait_for(
        "an answer with status 200",
        lambda: runtime.call(name, {}, timeout=60).status_code,
        lambda status: status == 200,
    )
    found = runtime.wait_for_state(name, "ready")
    assert "message" not in found["status"]


def test_every_call_gets_an_answer_while_workers_are_killed(functions: Path, state: Path) -> None:
    write_function(functions, "one", CODE, trigger={"numWorkers": 2})
    calls = int(os.environ.get("CVAT_LAMBDA_LOAD_CALLS", "400"))
    with running([functions], state) as runtime:
        runtime.wait_for_state("one")
        address, stop = runtime.address("one"), threading.Event()
        body = json.dumps({"seconds": 0.005})

        def call_many(share: int) -> list[int]:
            statuses = []
            with requests.Session() as session:
                session.headers["Content-Type"] = "application/json"
                for _ in range(share):
                    statuses.append(session.post(address, body, timeout=300).status_code)
            return statuses

        def kill_on() -> int:
            kills = 0
            while not stop.wait(0.3):
                answer = runtime.call("one", {})
                if answer.status_code == 200:
                    os.kill(answer.json()["pid"], signal.SIGKILL)
                kills += 1
            return kills

        with ThreadPoolExecutor(17) as pool:
            killer = pool.submit(kill_on)
            callers = [pool.submit(call_many, calls // 16) for _ in range(16)]
            statuses = [status for caller in callers for status in caller.result()]
            stop.set()
            assert killer.result() > 0
        assert len(statuses) == calls // 16 * 16
        assert set(statuses) <= {200, 502}
        assert statuses.count(200) > len(statuses) / 2
        assert runtime.process is not None
        left = descendants(runtime.process.pid)
    assert [pid for pid in left if is_alive(pid)] == []


FORKS = """
import os, time
def handler(context, event):
    what = event.body.decode()
    if what == "fork and die":
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        os.kill(os.getpid(), 9)
    return str(os.getpid())
"""


def test_death_of_a_worker_is_noticed_while_its_child_runs(runtime: Runtime, serve: Serve) -> None:
    name = serve(FORKS).name
    answer = runtime.call(name, data=b"fork and die", timeout=60)
    assert (answer.status_code, answer.text) == (
        502,
        "Worker crashed - worker 0 was killed by SIGKILL (out of memory?)",
    )
    assert runtime.call(name, data=b"", timeout=60).status_code == 200


ENDS = """
import atexit, os, socket, threading, time
atexit.register(time.sleep, 0.2)  # it hangs up before it has ended
def handler(context, event):
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            socket.socket(fileno=os.dup(number)).shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
"""


def test_exit_status_of_a_worker_that_closed_its_socket_is_reported(
    runtime: Runtime, serve: Serve
) -> None:
    name = serve(ENDS).name
    answer = runtime.call(name, data=b"", timeout=60)
    assert answer.text == "Worker crashed - worker 0 exited with status 0"
