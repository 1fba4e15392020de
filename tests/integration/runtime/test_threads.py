"""``workers: threads``: one process and one model for all workers of a function."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.integration.runtime.conftest import Serve
from tests.integration.runtime.harness import Runtime, running, write_function
from tests.waiting import wait_for

WORKERS = 4
MODEL_MIB = 64
THREADS = {"workers": "threads"}
TRIGGER = {"numWorkers": WORKERS, "maxWorkers": WORKERS}

# `meet` returns only if WORKERS calls of it are in the handler at the same time.
CODE = """
import json, os, sys, threading, time
MEETING = threading.Barrier(4)
def init_context(context):
    context.user_data.model = bytearray(b'a') * (64 << 20)
def handler(context, event):
    body = event.body
    context.logger.info("call " + str(body.get("number")))
    if body.get("do") == "meet":
        MEETING.wait(60)
    elif body.get("do") == "die":
        MEETING.wait(60)
        os._exit(7)
    elif body.get("do") == "hang":
        time.sleep(600)
    elif body.get("do") == "exit":
        sys.exit(3)
    elif body.get("do") == "stop":
        raise StopIteration("no more")
    return json.dumps({"pid": os.getpid(), "model": id(context.user_data.model),
                       "number": body.get("number")})
"""
ASYNC_CODE = """
import asyncio, json, os
class State: inside = 0; met = None
async def handler(context, event):
    State.met = State.met or asyncio.Event()
    State.inside += 1
    if State.inside == 4:
        State.met.set()
    await asyncio.wait_for(State.met.wait(), 60)
    return json.dumps({"pid": os.getpid(), "number": event.body["number"]})
"""


@pytest.fixture
def threaded(serve: Serve) -> Path:
    """A function with four workers, which are threads."""
    return serve(CODE, extras=THREADS, trigger=TRIGGER)


def side_by_side(
    runtime: Runtime, name: str, bodies: list[dict[str, Any]], **more: Any
) -> list[requests.Response]:
    """Send calls at the same time; return their responses in order."""
    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(lambda body: runtime.call(name, body, timeout=120, **more), bodies))


def test_calls_of_threads_run_at_the_same_time_in_one_process_with_one_model(
    runtime: Runtime, threaded: Path
) -> None:
    bodies = [{"do": "meet", "number": number} for number in range(WORKERS)]
    answers = [one.json() for one in side_by_side(runtime, threaded.name, bodies)]
    assert [one["number"] for one in answers] == list(range(WORKERS))
    assert len({(one["pid"], one["model"]) for one in answers}) == 1


def test_async_handlers_of_threads_run_at_the_same_time_as_tasks_of_one_loop(
    runtime: Runtime, serve: Serve
) -> None:
    name = serve(ASYNC_CODE, extras=THREADS, trigger=TRIGGER).name
    bodies = [{"number": number} for number in range(WORKERS)]
    answers = [one.json() for one in side_by_side(runtime, name, bodies)]
    assert [one["number"] for one in answers] == list(range(WORKERS))
    assert len({one["pid"] for one in answers}) == 1


def test_four_threads_hold_the_model_once_and_four_processes_hold_it_four_times(
    runtime: Runtime, serve: Serve, threaded: Path
) -> None:
    processes = serve(CODE, trigger=TRIGGER)
    folders = {threaded.name: 1, processes.name: WORKERS}
    assert runtime.process is not None
    held: dict[str, list[int]] = {name: [] for name in folders}
    for process in psutil.Process(runtime.process.pid).children(recursive=True):
        command = " ".join(process.cmdline())
        for name in folders:
            if name in process.cwd() and "launch.py" in command:
                held[name].append(process.memory_info().rss)
    assert {name: len(sizes) for name, sizes in held.items()} == folders
    assert all(size > MODEL_MIB * 2**20 for sizes in held.values() for size in sizes)
    assert sum(held[processes.name]) - sum(held[threaded.name]) > (WORKERS - 1) * MODEL_MIB * 2**20


def test_crash_of_the_process_fails_all_calls_in_flight_and_all_threads_work_again(
    runtime: Runtime, threaded: Path
) -> None:
    first = side_by_side(runtime, threaded.name, [{"do": "die"}] * WORKERS)
    assert [one.status_code for one in first] == [502] * WORKERS
    assert all("worker 0 exited with status 7" in one.text for one in first)
    meeting = [{"do": "meet", "number": number} for number in range(WORKERS)]
    second = side_by_side(runtime, threaded.name, meeting)
    assert [one.status_code for one in second] == [200] * WORKERS
    assert len({one.json()["pid"] for one in second}) == 1
    restarts = re.findall(
        rf'worker_restarts_total{{function="{threaded.name}".*}} (\d+)',
        runtime.request("GET", "/metrics").text,
    )
    assert restarts == ["1", "0", "0", "0"]


def test_call_that_takes_too_long_ends_the_process_of_all_threads_which_is_started_again(
    runtime: Runtime, serve: Serve
) -> None:
    name = serve(CODE, extras=THREADS, trigger=TRIGGER, eventTimeout="2s").name
    answers = side_by_side(runtime, name, [{"do": "hang"}, {"do": "hang"}])
    first, second = sorted(answers, key=lambda one: one.status_code)
    assert first.status_code == 408
    # The other call reaches its own limit at the same time, or ends with the process.
    assert second.status_code == 408 or "was killed because a call took too long" in second.text
    assert runtime.call(name, {"number": 5}).json()["number"] == 5


# As in Nuclio, no exception of a handler ends the worker.
@pytest.mark.parametrize("do", ["exit", "stop"])
def test_exception_that_ends_a_thread_elsewhere_fails_its_own_call_only(
    runtime: Runtime, threaded: Path, do: str
) -> None:
    failed = runtime.call(threaded.name, {"do": do}, timeout=60)
    assert failed.status_code == 500
    assert failed.text.startswith("Exception caught in handler")
    assert runtime.call(threaded.name, {"number": 1}).status_code == 200
    assert "is restarted" not in runtime.log(threaded.name)


def test_log_records_of_threads_are_returned_with_their_own_call(
    runtime: Runtime, threaded: Path
) -> None:
    bodies = [{"do": "meet", "number": number} for number in range(WORKERS)]
    answers = side_by_side(runtime, threaded.name, bodies, headers={"X-Nuclio-Log-Level": "info"})
    records = [json.loads(one.headers["X-Nuclio-Logs"]) for one in answers]
    assert [[one["message"] for one in each] for each in records] == [
        [f"call {number}"] for number in range(WORKERS)
    ]
    assert {each[0]["worker_id"] for each in records} == {"0", "1", "2", "3"}


def test_function_object_says_whether_workers_are_threads(
    runtime: Runtime, serve: Serve, threaded: Path
) -> None:
    plain = serve(CODE, trigger={"numWorkers": 2})
    shown = [runtime.function(each.name)["status"]["workers"] for each in (threaded, plain)]
    assert shown == [{"count": 4, "kind": "threads"}, {"count": 2, "kind": "processes"}]


def test_update_waits_for_calls_in_all_threads(runtime: Runtime, threaded: Path) -> None:
    meeting = [{"do": "meet", "number": number} for number in range(WORKERS - 1)]
    with ThreadPoolExecutor(WORKERS) as pool:
        waiting = [pool.submit(runtime.call, threaded.name, body, timeout=120) for body in meeting]
        wait_for(
            "three calls in the handler",
            lambda: runtime.log(threaded.name),
            lambda text: all(f"call {number}" in text for number in range(WORKERS - 1)),
        )
        last = requests.Session()
        address = runtime.address(threaded.name)
        assert last.post(address, json={"number": 9}, timeout=60).status_code == 200
        runtime.deploy(threaded)
        # The kept connection leads to the old version, which ends the meeting.
        ended = last.post(address, json={"do": "meet", "number": 9}, timeout=60)
        assert ended.status_code == 200
        assert [one.result().status_code for one in waiting] == [200] * (WORKERS - 1)


def test_threads_scale_to_zero_and_start_again_with_the_next_call(tmp_path: Path) -> None:
    extras = {**THREADS, "idle_timeout": "300ms"}
    write_function(tmp_path / "functions", "idle", CODE, extras=extras, trigger=TRIGGER)
    with running([tmp_path / "functions"], tmp_path / "state") as runtime:
        runtime.wait_for_state("idle", "scaledToZero")
        bodies = [{"do": "meet", "number": number} for number in range(WORKERS)]
        answers = side_by_side(runtime, "idle", bodies)
        assert [one.status_code for one in answers] == [200] * WORKERS
        assert len({one.json()["pid"] for one in answers}) == 1
