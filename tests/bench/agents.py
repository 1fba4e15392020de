"""Agents of a native function, compared with the ceiling of their function.

Two agents are the real cvat-cli, with a function that takes 50 ms for a frame. The ceiling is
frames x 50 ms / 2. Beside them two bare clients run: threads that send the same five HTTP requests
for a frame over kept connections, sleep as long, and parse nothing else. The web server, the RQ
worker and the agents are processes of their own; the figures say how much CPU time each takes.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psutil

from tests.bench.stand import Stand, stand, worker_process

AGENTS: Final = 2
LATENCY_S: Final = 0.05
GOAL: Final = 0.8
FRAMES: Final = 400
SHORT_FRAMES: Final = 20


def run(*, short: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows."""
    with stand() as place:
        yield from measure(place, short=short)


def measure(place: Stand, *, short: bool) -> Iterator[dict[str, Any]]:
    """Yield the share of the ceiling of bare and of real agents, and the CPU time of a frame."""
    from cvat_lambda.engine.standalone.models import AccessToken
    from tests.native_agents import Account

    task = place.task(SHORT_FRAMES if short else FRAMES)
    _, token = AccessToken.create(place.owner, name="agents")
    with (
        worker_process(place.home / "worker.log") as worker,
        web_processes(place.home) as (web, url),
    ):
        account = Account(
            url=url,
            user=place.owner,
            token=token,
            home=place.home / "agents",
            program=Path(sys.executable).with_name("cvat-cli"),
        )
        try:
            function = account.create()
            with bare_agents(account, function):
                yield from rows("bare", place, task, function, {**web, "worker": worker})
            for _ in range(AGENTS):
                account.start_agent(function, NATIVE_SLEEP_S=str(LATENCY_S))
            # The first frame of an agent starts the process that imports the function.
            place.run(place.task(SHORT_FRAMES), f"native-{function}")
            pids = {f"agent {agent.pid}": agent.pid for agent in account.agents}
            watched = {**web, "worker": worker, **pids}
            yield from rows("cvat_cli", place, task, function, watched)
        finally:
            account.stop()


def rows(
    name: str, place: Stand, task: Any, function: int, watched: dict[str, int]
) -> Iterator[dict[str, Any]]:
    """Run a request. Yield its share of the ceiling, and the CPU time of a frame in processes."""
    before = {each: cpu_s(pid) for each, pid in watched.items()}
    request = place.run(task, f"native-{function}", replace="all")
    wall_s = (request.ended_at - request.started_at).total_seconds()
    ceiling_s = request.total * LATENCY_S / AGENTS
    goal = GOAL if name != "bare" else None
    yield _row(f"agents_share_50ms_{name}", ceiling_s / wall_s, "share", goal, higher=True)
    spent: dict[str, float] = {}
    for each, pid in watched.items():
        kind = each.partition(" ")[0]
        spent[kind] = spent.get(kind, 0.0) + cpu_s(pid) - before[each]
    for kind, seconds in spent.items():
        value = 1000 * seconds / request.total
        yield _row(f"agents_{name}_{kind}_cpu_ms", value, "ms a frame", None, higher=False)


def _row(name: str, value: float, unit: str, goal: float | None, *, higher: bool) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "goal": goal,
        "higher_is_better": higher,
    }


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process and of its descendants, ended ones included."""
    process = psutil.Process(pid)
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        times = each.cpu_times()
        total += times.user + times.system
        if each.pid == pid:
            total += times.children_user + times.children_system
    return total


@contextmanager
def web_processes(home: Path) -> Iterator[tuple[dict[str, int], str]]:
    """Start as many web processes as the standalone server does. Yield their ids and the URL."""
    from cvat_lambda.server.processes import Child, bound_socket, wait_for_answer
    from cvat_lambda.server.services import Options, web_command

    with ExitStack() as stack:
        with bound_socket() as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            pids = {}
            for number in range(Options(home=home).web_processes):
                name = f"web {number}"
                child = Child.start(
                    name,
                    web_command(listener.fileno(), threads=8),
                    env=dict(os.environ),
                    log=home / f"web-{number}.log",
                    keep_open=(listener.fileno(),),
                )
                stack.callback(child.stop)
                pids[name] = child.process.pid
        wait_for_answer(f"{url}/health", child=child)
        yield pids, url


@contextmanager
def bare_agents(account: Any, function: int) -> Iterator[None]:
    """Serve the function with bare clients until the end of the block."""
    stopped = threading.Event()
    threads = [
        threading.Thread(target=_serve, args=(account, function, stopped), daemon=True)
        for _ in range(AGENTS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join(60)


def _serve(account: Any, function: int, stopped: threading.Event) -> None:
    address = urlsplit(account.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
    headers = {"Authorization": f"Bearer {account.token}", "Content-Type": "application/json"}
    agent_id = secrets.token_hex(16)
    queue = f"/api/functions/queues/function:{function}/requests"

    def send(method: str, path: str, body: Any = None) -> bytes:
        text = None if body is None else json.dumps({"agent_id": agent_id, **body})
        connection.request(method, path, text, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:300]!r}")
        return content

    while not stopped.is_set():
        found = json.loads(send("POST", f"{queue}/acquire", {"request_category": "batch"}))
        if found["ar_assignment"] is None:
            stopped.wait(0.01)
            continue
        _answer(send, queue, found["ar_assignment"])
    connection.close()


def _answer(send: Callable[..., bytes], queue: str, assigned: dict[str, Any]) -> None:
    """Send the other four requests of a frame, and sleep as the function does."""
    task_id, frame = assigned["ar_params"]["task"], assigned["ar_params"]["frame"]
    send("GET", f"/api/tasks/{task_id}")
    labels = json.loads(send("GET", f"/api/labels?task_id={task_id}&page=1"))["results"]
    send("GET", f"/api/tasks/{task_id}/data?type=frame&quality=original&number={frame}")
    threading.Event().wait(LATENCY_S)
    shape = {
        "type": "rectangle",
        "frame": frame,
        "label_id": labels[0]["id"],
        "points": [1, 2, 30, 40],
        "source": "auto",
        "attributes": [],
    }
    result = {"annotations": {"tags": [], "shapes": [shape]}}
    send("POST", f"{queue}/{assigned['ar_id']}/complete", result)
