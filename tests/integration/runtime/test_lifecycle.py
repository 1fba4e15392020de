"""Start, update, scale to zero, crash and end of processes. No process may be left running."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
import requests

from tests.http_server import files_of, http_server
from tests.integration.runtime.conftest import Serve, Write
from tests.integration.runtime.harness import (
    REPOSITORY,
    Runtime,
    calls_begun,
    descendants,
    is_alive,
    running,
    wait_for_exit,
    write_function,
)
from tests.ports import free_port
from tests.waiting import wait_for

PID = """
import json, os, subprocess, time
def handler(context, event):
    body = event.body if isinstance(event.body, dict) else {}
    if body.get("do") == "spawn":
        context.user_data.child = subprocess.Popen(["sleep", "300"])
        return json.dumps({"pid": os.getpid(), "child": context.user_data.child.pid})
    time.sleep(body.get("seconds", 0))
    return json.dumps({"pid": os.getpid(), "version": VERSION})
"""


def code(version: int = 1) -> str:
    return f"VERSION = {version}\n{PID}"


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    return tmp_path / "functions"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


class Own(Protocol):
    """Runs a runtime of the test's own, which serves code as the function "one"."""

    def __call__(
        self, code: str, *options: str, **spec: Any
    ) -> AbstractContextManager[Runtime]: ...


@pytest.fixture
def own(functions: Path, state: Path) -> Own:
    """Return a context manager that serves code until the end of the block."""

    @contextmanager
    def serve(code: str, *options: str, **spec: Any) -> Iterator[Runtime]:
        write_function(functions, "one", code, **spec)
        with running([functions], state, *options) as runtime:
            runtime.wait_for_state("one")
            yield runtime

    return serve


def test_kill_9_of_the_supervisor_leaves_no_process(own: Own) -> None:
    with own(code(), trigger={"numWorkers": 2}) as runtime:
        child = runtime.call("one", {"do": "spawn"}).json()["child"]
        assert runtime.process is not None
        left = descendants(runtime.process.pid) | {child}
        assert len(left) >= 4  # processor, two workers, and a child of one of them
        runtime.process.kill()
        wait_for_exit(left)


DAEMON = """
import json, os, subprocess
def init_context(context):
    context.user_data.child = subprocess.Popen(["sleep", "300"], start_new_session=True).pid
def handler(context, event):
    if event.body == b"die":
        os._exit(1)
    return json.dumps(context.user_data.child)
"""


def test_descendant_in_its_own_session_ends_with_the_worker(own: Own) -> None:
    with own(DAEMON) as runtime:
        first = runtime.call("one").json()
        assert runtime.call("one", data=b"die").status_code == 502
        wait_for_exit([first])
        second = runtime.call("one").json()
        os.kill(parent_of(parent_of(second)), signal.SIGKILL)  # its processor
        wait_for_exit([second])
        runtime.wait_for_state("one")
        third = runtime.call("one").json()
        assert is_alive(third)
        assert runtime.process is not None
        runtime.process.kill()
        wait_for_exit([third])


def parent_of(child: int) -> int:
    """Return the pid of a process's parent."""
    return int(Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[1])


def test_removal_while_a_processor_restarts_leaves_no_process(
    runtime: Runtime, serve: Serve, tmp_path: Path
) -> None:
    # The first start loads at once. Later starts never end.
    source = (
        "import os, time\n"
        "def init_context(context):\n"
        f"    mark = {str(tmp_path / 'mark')!r}\n"
        "    if os.path.exists(mark):\n        time.sleep(300)\n"
        "    open(mark, 'w').close()\n"
    )
    assert runtime.process is not None
    supervisor = runtime.process.pid
    others = descendants(supervisor)
    name = serve(source + code()).name
    first = descendants(supervisor)
    os.kill(parent_of(runtime.call(name, {}).json()["pid"]), signal.SIGKILL)
    # the new processor and its worker, which is busy loading
    wait_for(
        "the processes", lambda: descendants(supervisor) - first, lambda found: len(found) >= 2
    )
    body = {"metadata": {"name": name, "namespace": "cvat"}}
    assert runtime.request("DELETE", "/api/functions", json=body).status_code == 204
    wait_for(
        "exit",
        lambda: descendants(supervisor) - others,
        lambda found: not any(map(is_alive, found)),
    )


def test_killed_processor_leaves_no_worker_and_is_restarted(runtime: Runtime, serve: Serve) -> None:
    name = serve(code()).name
    first = runtime.call(name, {"do": "spawn"}).json()
    address = runtime.address(name)
    os.kill(parent_of(first["pid"]), signal.SIGKILL)
    wait_for_exit([first["pid"], first["child"]])
    runtime.wait_for_state(name, "ready")
    assert runtime.address(name) == address
    assert runtime.call(name, {}).json()["pid"] != first["pid"]


def test_ctrl_c_ends_all_processes_with_status_0(own: Own) -> None:
    with own(code()) as runtime:
        assert runtime.process is not None
        left = descendants(runtime.process.pid)
        assert runtime.stop() == 0
        assert [pid for pid in left if is_alive(pid)] == []


def test_drain_and_termination_callbacks_are_called_before_a_worker_ends(
    own: Own, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    source = (
        f"def init_context(context):\n"
        f"    log = lambda text: open({str(mark)!r}, 'a').write(text)\n"
        f"    context.platform.set_termination_callback(lambda: log('ended'))\n"
        f"    context.platform.set_drain_callback(lambda: log('drained '))\n"
        f"def handler(context, event):\n    return ''\n"
    )
    with own(source) as runtime:
        assert runtime.stop() == 0
    assert mark.read_text() == "drained ended"


def test_termination_callback_is_called_after_a_drain_callback_that_failed(
    own: Own, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    source = (
        f"def init_context(context):\n"
        f"    end = lambda: open({str(mark)!r}, 'a').write('ended')\n"
        f"    context.platform.set_termination_callback(end)\n"
        f"    context.platform.set_drain_callback(lambda: 1 / 0)\n"
        f"def handler(context, event):\n    return ''\n"
    )
    with own(source) as runtime:
        assert runtime.stop() == 0
    assert mark.read_text() == "ended"


def test_a_folder_that_does_not_load_is_in_error_and_the_others_run(
    functions: Path, state: Path
) -> None:
    write_function(functions, "good", code())
    (functions / "no-yaml").mkdir()
    (functions / "no-yaml" / "function.yaml").write_text("metadata: [")
    write_function(functions, "bad-handler", code(), handler="no handler")
    with running([functions], state) as runtime:
        runtime.wait_for_state("good")
        told = {
            name: found["status"].get("message", "")
            for name, found in runtime.request("GET", "/api/functions").json().items()
        }
        assert sorted(told) == ["bad-handler", "good", "no-yaml"]
        assert "function.yaml cannot be read" in told["no-yaml"]
        assert "spec.handler 'no handler' must look like module:callable" in told["bad-handler"]
        assert runtime.call("good", {}).status_code == 200


SLOW_START = """
import pathlib, time
MARK = pathlib.Path(%r)
def init_context(context):
    MARK.touch()
    while MARK.with_suffix(".hold").exists():
        time.sleep(0.05)
def handler(context, event):
    return "x"
"""


@pytest.mark.parametrize("victim", ["worker", "processor"])
def test_process_that_is_killed_while_it_loads_is_started_again(
    runtime: Runtime, write: Write, tmp_path: Path, victim: str
) -> None:
    mark, hold = tmp_path / "mark", tmp_path / "mark.hold"
    hold.touch()
    folder = write(SLOW_START % str(mark))
    assert runtime.process is not None
    others = descendants(runtime.process.pid)
    runtime.deploy(folder)
    wait_for("the start of the code under test", mark.exists, timeout_s=300)
    module = {"worker": "launch.py", "processor": "cvat_lambda.runtime.processor"}[victim]
    for pid in descendants(runtime.process.pid) - others:
        command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        if any(word.endswith(module) for word in command):
            os.kill(pid, signal.SIGKILL)
    message = runtime.wait_for_state(folder.name, "error")["status"]["message"]
    assert re.search(r"\(attempt 1; next one at \d\d:\d\d:\d\d UTC\)$", message), message
    hold.unlink()
    runtime.wait_for_state(folder.name, "ready")
    assert runtime.call(folder.name, {}).text == "x"


def test_function_that_cannot_load_is_not_started_again(runtime: Runtime, serve: Serve) -> None:
    name = serve("import nothing_of_that_name\n", state="error").name
    message = runtime.function(name)["status"]["message"]
    assert message.endswith("No module named 'nothing_of_that_name'")


def test_failed_download_is_retried_until_the_file_exists(
    runtime: Runtime, serve: Serve, tmp_path: Path
) -> None:
    """This happens in a container that starts before its network."""
    content = os.urandom(8)  # not downloaded before
    port = free_port()
    url = f"http://127.0.0.1:{port}/model.bin"
    checksum = hashlib.sha256(content).hexdigest()
    weight = {"file": "model.bin", "licence": "MIT", "url": url, "sha256": checksum}
    source = "def handler(c, e): return 'x'\n"
    name = serve(source, state="error", extras={"weights": [weight]}).name
    message = runtime.function(name)["status"]["message"]
    assert "Connection refused" in message
    assert "attempt 1; next one at" in message
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "model.bin").write_bytes(content)
    with http_server(files_of(tmp_path / "served"), port=port):
        runtime.wait_for_state(name, "ready")


def test_command_in_the_message_repairs_a_function_without_weights(
    functions: Path, state: Path, tmp_path: Path
) -> None:
    content = b"weights"
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "model.bin").write_bytes(content)
    with http_server(files_of(tmp_path / "served")) as server:
        url = f"{server.url}/model.bin"
        checksum = hashlib.sha256(content).hexdigest()
        weight = {"file": "model.bin", "licence": "MIT", "url": url, "sha256": checksum}
        code = "def handler(c, e): return 'x'\n"
        write_function(functions, "one", code, extras={"weights": [weight]})
        env = {"CVAT_LAMBDA_CACHE": str(tmp_path / "cache")}
        with running([functions], state, "--offline", env=env) as runtime:
            message = runtime.wait_for_state("one", "error")["status"]["message"]
            named = re.search(r"run python (-m cvat_lambda\.runtime fetch \S+?)( |$)", message)
            assert named is not None, message
            command = [sys.executable, *named[1].split()]
            subprocess.run(command, check=True, cwd=REPOSITORY, env={**os.environ, **env})
            runtime.wait_for_state("one", "ready")


@pytest.mark.parametrize("remedy", ["option", "variable"])
def test_remedies_in_the_message_accept_a_licence(
    runtime: Runtime, serve: Serve, state: Path, tmp_path: Path, remedy: str
) -> None:
    content = os.urandom(8)  # not downloaded before
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "model.bin").write_bytes(content)
    with http_server(files_of(tmp_path / "served")) as server:
        url = f"{server.url}/model.bin"
        checksum = hashlib.sha256(content).hexdigest()
        weight = {"file": "model.bin", "licence": "GPL-3.0-only", "url": url, "sha256": checksum}
        code = "def handler(c, e): return 'x'\n"
        folder = serve(code, state="error", extras={"weights": [weight]})
        message = runtime.function(folder.name)["status"]["message"]
        assert "attempt" not in message  # the setting is read at a restart only
        found = re.search(r"with (--accept-licence \S+) or with (\w+)=(\S+)$", message)
        assert found is not None, message
        options = found[1].split() if remedy == "option" else []
        env = {found[2]: found[3]} if remedy == "variable" else {}
        with running([folder], state, *options, env=env) as accepting:
            accepting.wait_for_state(folder.name, "ready")


def test_port_in_use_is_reported_in_the_state(runtime: Runtime, serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        name = serve(code(), state="error", trigger={"attributes": {"port": port}}).name
        message = runtime.function(name)["status"]["message"]
        assert f"port {port} is taken by another program or function" in message


def test_function_with_the_port_of_a_served_function_is_in_error(
    runtime: Runtime, serve: Serve
) -> None:
    port = free_port()
    serve(code(), trigger={"attributes": {"port": port}})
    second = serve(code(), state="error", trigger={"attributes": {"port": port}}).name
    message = runtime.function(second)["status"]["message"]
    assert f"port {port} is taken by another program or function" in message


def test_one_of_two_functions_with_the_same_port_that_start_together_is_in_error(
    runtime: Runtime, write: Write
) -> None:
    port = free_port()
    folders = [write(code(), trigger={"attributes": {"port": port}}) for _ in range(2)]
    for folder in folders:
        runtime.deploy(folder)
    found = [runtime.wait_for_state(folder.name, "ready", "error")["status"] for folder in folders]
    assert sorted(status["state"] for status in found) == ["error", "ready"]
    (message,) = (status["message"] for status in found if status["state"] == "error")
    assert re.search(rf"port {port} is taken by another (program or )?function", message)


@pytest.mark.parametrize("source", ["option", "variable"])
def test_function_with_more_workers_than_allowed_is_refused(
    functions: Path, state: Path, source: str
) -> None:
    folder = write_function(functions, "one", code(), trigger={"numWorkers": 3})
    options = ["--max-workers", "2"] if source == "option" else []
    env = {"CVAT_LAMBDA_RUNTIME_MAX_WORKERS": "2"}
    with running([functions], state, *options, env=env) as runtime:
        message = runtime.wait_for_state("one", "error")["status"]["message"]
        assert "numWorkers is 3, and this runtime allows 2" in message
        done = subprocess.run(
            [sys.executable, "-m", "cvat_lambda.runtime", "deploy", folder, "--url", runtime.url],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert "400: function 'one': spec.triggers.http.numWorkers is 3" in done.stderr


def test_only_selected_functions_are_loaded_and_the_log_names_the_others(
    functions: Path, state: Path
) -> None:
    for name in ("one", "two", "three"):
        write_function(functions, name, code())
    with running([functions], state, "--only", "one,three") as runtime:
        assert sorted(runtime.request("GET", "/api/functions").json()) == ["one", "three"]
        assert "available and not served, since --only does not name them: two" in "".join(
            runtime.output
        )


def test_idle_function_scales_to_zero_and_starts_on_a_call(runtime: Runtime, write: Write) -> None:
    folder = write(code(), extras={"idle_timeout": "500ms"})
    name = folder.name
    runtime.deploy(folder)
    runtime.wait_for_state(name, "ready", "scaledToZero")  # it may be idle before the first poll
    first = runtime.call(name, {}).json()["pid"]
    runtime.wait_for_state(name, "scaledToZero")
    assert not is_alive(first)
    answer = runtime.call(name, {})
    assert (answer.status_code, answer.json()["version"]) == (200, 1)
    assert answer.json()["pid"] != first


def scale(runtime: Runtime, name: str, state: str) -> None:
    """Request that a function is scaled to zero (``scaledToZero``) or started (``ready``)."""
    answer = runtime.request("PATCH", f"/api/functions/{name}", json={"desiredState": state})
    assert answer.status_code == 202, answer.text


def test_function_is_scaled_to_zero_and_back_by_requests(runtime: Runtime, serve: Serve) -> None:
    name = serve(code()).name
    for state in ("scaledToZero", "ready"):
        scale(runtime, name, state)
        runtime.wait_for_state(name, state)


def test_call_in_flight_ends_before_scale_to_zero(runtime: Runtime, serve: Serve) -> None:
    name = serve(code()).name
    with ThreadPoolExecutor(3) as pool:
        running_call = pool.submit(runtime.call, name, {"seconds": 0.6})
        wait_for(
            "the start of the calls", lambda: calls_begun(runtime, name), lambda begun: begun == 1
        )
        waiting_call = pool.submit(runtime.call, name, {})
        wait_for(
            "the start of the calls", lambda: calls_begun(runtime, name), lambda begun: begun == 2
        )
        scale(runtime, name, "scaledToZero")
        assert running_call.result().status_code == 200
        assert waiting_call.result().status_code == 200  # it started the function again
        calls = [pool.submit(runtime.call, name, {"seconds": 0.2}, timeout=300) for _ in range(3)]
        assert [call.result().status_code for call in calls] == [200] * 3


def test_no_call_is_lost_while_a_function_is_scaled_to_zero_repeatedly(
    runtime: Runtime, serve: Serve
) -> None:
    source = "import time\ndef handler(context, event):\n    time.sleep(0.01)\n    return 'x'\n"
    name = serve(source, trigger={"numWorkers": 2}).name
    address = runtime.address(name)
    statuses: list[int] = []
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            calls = [pool.submit(requests.post, address, timeout=300) for _ in range(40)]
            next(as_completed(calls))  # the others are in flight or wait
            scale(runtime, name, "scaledToZero")
            statuses += [call.result().status_code for call in calls]
    assert statuses == [200] * 200


def test_deployed_functions_are_served_after_a_restart(
    functions: Path, state: Path, tmp_path: Path
) -> None:
    folder = write_function(tmp_path / "elsewhere", "one", code())
    document = {"metadata": {"name": "one"}, "spec": {"build": {"path": str(folder)}}}
    with running([], state) as runtime:
        assert runtime.request("POST", "/api/functions", json=document).status_code == 202
        runtime.wait_for_state("one")
    with running([], state) as runtime:
        runtime.wait_for_state("one")
        assert runtime.call("one", {}).json()["version"] == 1


# --- authorization -------------------------------------------------------------------------------


@pytest.fixture
def guarded(own: Own) -> Iterator[Runtime]:
    with own(code(), "--token", "s3cret") as runtime:
        yield runtime


def test_request_without_the_token_is_rejected(guarded: Runtime) -> None:
    direct = guarded.address("one")
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        for url in (guarded.url + "/api/functions", guarded.url + "/metrics", direct):
            assert requests.get(url, headers=headers, timeout=10).status_code == 401
    token = {"Authorization": "Bearer s3cret"}
    assert requests.post(direct, headers=token, timeout=10).status_code == 200
    through = {**token, "x-nuclio-function-name": "one"}
    path = guarded.url + "/api/function_invocations"
    assert requests.post(path, json={}, headers=through, timeout=10).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},  # a page from a file or a sandboxed frame
        {"Host": "evil.example"},  # DNS rebinding: a name that resolves to loopback
        {"Host": "[x"},
    ],
)
def test_request_of_a_foreign_web_page_is_rejected_without_a_token(
    runtime: Runtime, serve: Serve, headers: dict[str, str]
) -> None:
    name = serve(code()).name
    assert runtime.request("GET", "/api/functions", headers=headers).status_code in (400, 403)
    assert runtime.call(name, headers=headers).status_code in (400, 403)
    own = {"Origin": runtime.url}
    assert runtime.request("GET", "/api/functions", headers=own).status_code == 200
    assert runtime.call(name, headers={"Origin": runtime.address(name)}).status_code == 200
    # A page of the dashboard may invoke a function through it.
    through = {**own, "x-nuclio-function-name": name}
    answer = runtime.request("POST", "/api/function_invocations", json={}, headers=through)
    assert answer.status_code == 200


def test_runtime_on_a_public_address_needs_a_token(state: Path) -> None:
    command = [sys.executable, "-m", "cvat_lambda.runtime", "serve", "--host", "0.0.0.0"]
    done = subprocess.run(
        [*command, "--port", "0", "--state-dir", str(state)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "give a token" in done.stderr


# --- the environment of a function ---------------------------------------------------------------

VIEW = """
import json, os, pathlib
def handler(context, event):
    path = "/opt/nuclio/function.yaml"
    return json.dumps({
        "open": open(path).readline(), "pathlib": pathlib.Path(path).read_text().splitlines()[0],
        "exists": [os.path.exists(path), os.path.exists("/opt/nuclio/nothing")],
        "listed": "main.py" in os.listdir("/opt/nuclio"), "cwd": os.path.exists("function.yaml"),
    })
"""


@pytest.mark.parametrize("way", ["mount", "rewrite"])
def test_opt_nuclio_is_the_functions_folder(functions: Path, state: Path, way: str) -> None:
    write_function(functions, "one", VIEW)
    with running([functions], state, "--opt-nuclio", way) as runtime:
        found = runtime.wait_for_state("one", "ready", "error")
        if "a private mount namespace is not allowed here" in found["status"].get("message", ""):
            pytest.skip("this machine allows no private mounts")
        seen = runtime.call("one").json()
        first = (functions / "one" / "function.yaml").read_text().splitlines()[0]
        assert seen == {
            "open": first + "\n",
            "pathlib": first,
            "exists": [True, False],
            "listed": True,
            "cwd": True,
        }
        assert f"/opt/nuclio is seen as the function's folder by: {way}" in runtime.log("one")


def test_a_function_calls_another_by_its_name(functions: Path, own: Own) -> None:
    write_function(functions, "two", "def handler(context, event):\n    return {'n': event.body}\n")
    caller = (
        "import json, nuclio_sdk\n"
        "def handler(context, event):\n"
        "    inner = nuclio_sdk.Event(body={'a': 1}, method='POST', path='/x')\n"
        "    answer = context.platform.call_function('two', inner)\n"
        "    return json.dumps([answer.status_code, answer.body])\n"
    )
    with own(caller, "--token", "s3cret") as runtime:
        runtime.wait_for_state("two")
        headers = {"Authorization": "Bearer s3cret"}
        assert runtime.call("one", headers=headers).json() == [200, {"n": {"a": 1}}]
        body = {"metadata": {"name": "two"}}
        assert runtime.request("DELETE", "/api/functions", json=body).status_code == 204
        failed = runtime.call(
            "one", headers=headers
        )  # as in Nuclio, where the host name is unknown
        assert (failed.status_code, "there is no function 'two'" in failed.text) == (500, True)


@pytest.mark.parametrize(
    "kind", ["async ", ""]
)  # a handler without async runs in the event loop, too
def test_asyncio_tasks_of_a_handler_continue_between_invocations(
    runtime: Runtime, serve: Serve, kind: str
) -> None:
    source = (
        "import asyncio\n"
        "done = []\n"
        "async def later():\n"
        "    await asyncio.sleep(0.05)\n"
        "    done.append(1)\n"
        "async def init_context(context):\n"
        "    context.user_data.kept = []\n"
        f"{kind}def handler(context, event):\n"
        "    if event.body == b'start':\n"
        "        context.user_data.kept.append(asyncio.ensure_future(later()))\n"
        "    return str(len(done))\n"
    )
    name = serve(source).name
    assert runtime.call(name, data=b"start").text == "0"
    wait_for(
        "the end of the asyncio task", lambda: runtime.call(name).text, lambda text: text == "1"
    )


def test_worker_of_an_async_handler_ends_gracefully(own: Own, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    source = (
        "async def init_context(context):\n"
        f"    done = lambda: open({str(mark)!r}, 'w').write('told')\n"
        "    context.platform.set_termination_callback(done)\n"
        "async def handler(context, event):\n    return 'x'\n"
    )
    # The grace period is longer than the test waits, so a kill after it would fail the test.
    with own(source, trigger={"workerTerminationTimeout": "50s"}) as runtime:
        assert runtime.call("one").text == "x"
        assert runtime.stop() == 0
    assert mark.read_text() == "told"
