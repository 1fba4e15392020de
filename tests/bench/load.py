"""Many clients call a function while its worker processes are killed.

Every call must end with an answer or a typed error, in bounded time, and no process may be left
running. ``script/bench load`` makes 10,000 calls through 32 clients; CI makes a few hundred through
the same code.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

CODE = """
import json, os, time

def handler(context, event):
    time.sleep(0.004)
    body = json.dumps({"pid": os.getpid(), "echo": event.body["number"]})
    return context.Response(body=body, content_type="application/json", status_code=200)
"""
WORKERS = 4
EVENT_TIMEOUT_S = 10
MAX_ATTEMPTS = 5  # of one call
BUDGET_S = 60.0  # for attempts of one call that were not run


@dataclass
class Load:
    """The results of the clients' calls."""

    answered: int = 0
    errors: Counter[str] = field(default_factory=Counter)  # typed errors by code
    wrong: list[str] = field(default_factory=list)  # any other result is a defect
    kills: int = 0
    durations_s: list[float] = field(default_factory=list)
    longest_s: float = 0.0  # the timeouts' limit for one call with all attempts
    hanging: int = 0  # clients whose call took longer than `longest_s`
    processes: int = 0  # all processes of the runtime that were seen
    left: list[str] = field(default_factory=list)  # processes that run after the runtime's end
    wall_s: float = 0.0

    @property
    def ended(self) -> int:
        return self.answered + sum(self.errors.values())


class Clients:
    """Client threads that share a number of calls, and a thread that kills workers."""

    def __init__(
        self, runtime_pid: int, function_id: str, *, calls: int, clients: int, kill_every_s: float
    ) -> None:
        self._runtime = psutil.Process(runtime_pid)
        self._function_id = function_id
        self._kill_every_s = kill_every_s
        self._clients = clients
        self._lock = threading.Lock()
        self._numbers = iter(range(calls))
        self._pids: set[int] = set()
        self._over = threading.Event()
        self._processes: set[psutil.Process] = set()  # identified by pid and start time
        self.load = Load()

    def run(self) -> Load:
        """Make all calls. Return when the last has ended, or when calls hang."""
        from cvat_lambda.functions import registry
        from cvat_lambda.gateway.invoke import time_limit_s

        spec = registry.get(self._function_id)
        # An attempt that runs has the function's time limit. All others share the budget.
        self.load.longest_s = BUDGET_S + MAX_ATTEMPTS * time_limit_s(spec)
        self.note_processes()
        threads = [
            threading.Thread(target=self._call, args=(spec,), daemon=True)
            for _ in range(self._clients)
        ]
        killer = threading.Thread(target=self._kill)
        started = time.monotonic()
        for thread in (*threads, killer):
            thread.start()
        self._wait_for(threads)
        self._over.set()
        killer.join()
        self.note_processes()
        self.load.wall_s = time.monotonic() - started
        return self.load

    def note_processes(self) -> None:
        """Record the runtime's descendants now, because orphans get another parent."""
        self._processes.add(self._runtime)
        self._processes.update(self._runtime.children(recursive=True))

    def look_for_processes(self, *, wait_s: float = 10.0) -> None:
        """Record which processes of the runtime still run after its end."""
        _, alive = psutil.wait_procs(self._processes, timeout=wait_s)
        self.load.processes = len(self._processes)
        self.load.left = [str(process) for process in alive if _runs(process)]

    def _wait_for(self, threads: list[threading.Thread]) -> None:
        """Wait for the threads. Stop when no call has ended for longer than a call may take."""
        ended, since = 0, time.monotonic()
        while any(thread.is_alive() for thread in threads):
            if (now_ended := len(self.load.durations_s)) != ended:
                ended, since = now_ended, time.monotonic()
            if time.monotonic() - since > self.load.longest_s:
                break
            time.sleep(0.05)
        self.load.hanging = sum(thread.is_alive() for thread in threads)

    def _call(self, spec: Any) -> None:
        while (number := self._next()) is not None:
            started = time.monotonic()
            error = self._one(spec, number)
            with self._lock:
                self.load.durations_s.append(time.monotonic() - started)
                if error is None:
                    self.load.answered += 1
                elif isinstance(error, str):
                    self.load.wrong.append(error)
                else:
                    self.load.errors[error.code] += 1

    def _one(self, spec: Any, number: int) -> Any:
        from cvat_lambda.errors import LambdaError
        from cvat_lambda.gateway.invoke_with_retries import invoke_with_retries
        from cvat_lambda.gateway.payload import encode_payload
        from cvat_lambda.gateway.retry import RetryPolicy

        body = encode_payload({"number": number}, {"image": b"x" * 2000})
        policy = RetryPolicy(max_attempts=MAX_ATTEMPTS, budget_s=BUDGET_S)
        try:
            answer = invoke_with_retries(
                spec, body, request_id=f"load-{number}", retries=policy.start(), interactive=False
            ).answer
        except LambdaError as exc:
            return exc
        except Exception as exc:
            return repr(exc)
        if answer["echo"] != number:
            return f"call {number} got the answer of call {answer['echo']}"
        with self._lock:
            self._pids.add(answer["pid"])
        return None

    def _next(self) -> int | None:
        with self._lock:
            return next(self._numbers, None)

    def _kill(self) -> None:
        chance = random.Random(7)
        while not self._over.wait(self._kill_every_s):
            with self._lock:
                pids = sorted(self._pids)
                self._pids.clear()
            if pids:
                try:
                    os.kill(chance.choice(pids), signal.SIGKILL)
                except ProcessLookupError:
                    continue
                self.load.kills += 1
                self.note_processes()


def run_load(folder: Path, *, calls: int, clients: int, kill_every_s: float) -> Load:
    """Serve a function with the embedded runtime and run the clients.

    Django must be set up with a database. The settings are changed to name this runtime.
    """
    from django.test import override_settings

    from cvat_lambda.functions import registry
    from cvat_lambda.gateway.gateway import get_gateway
    from tests.integration.runtime.harness import running, write_function

    write_function(
        folder / "functions",
        "load",
        CODE,
        trigger={"numWorkers": WORKERS},
        eventTimeout=f"{EVENT_TIMEOUT_S}s",
    )
    with (
        running([folder / "functions"], folder / "state") as runtime,
        override_settings(
            CVAT_LAMBDA_PLATFORM_URL=runtime.url,
            CVAT_LAMBDA_PLATFORM_PROJECT="",
            CVAT_LAMBDA_FUNCTIONS_REFRESH_S=0,
        ),
    ):
        runtime.wait_for_state("load", "ready")
        registry.refresh(force=True)
        assert runtime.process is not None
        load = Clients(
            runtime.process.pid, "load", calls=calls, clients=clients, kill_every_s=kill_every_s
        )
        try:
            load.run()
        finally:
            get_gateway().reset()
    load.look_for_processes()
    return load.load


def set_up_django() -> None:
    """Set Django up in this process, with a database of its own."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def _runs(process: psutil.Process) -> bool:
    """Return whether a process runs. A zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def run(short: bool) -> list[dict[str, Any]]:
    """Return the rows of this benchmark."""
    set_up_django()
    return measure(short=short)


def measure(*, short: bool) -> list[dict[str, Any]]:
    """Return the rows. Django and its database are set up."""
    with tempfile.TemporaryDirectory() as folder:
        load = run_load(Path(folder), calls=400 if short else 10_000, clients=32, kill_every_s=1.0)
    durations = sorted(load.durations_s)
    print(
        f"errors {dict(load.errors)}, kills {load.kills}, wrong {load.wrong[:3]}", file=sys.stderr
    )
    return [
        _row("load_calls_without_a_typed_end", len(load.wrong), "calls", 0, False),
        _row("load_clients_that_hang", load.hanging, "clients", 0, False),
        _row("load_processes_left", len(load.left), "processes", 0, False),
        _row("load_calls_answered", load.answered / load.ended, "share", 0.99, True),
        _row("load_slowest_call", durations[-1], "s", 60.0, False),
        _row("load_calls_a_second", load.ended / load.wall_s, "1/s", None, True),
    ]


def _row(
    name: str, value: float, unit: str, goal: float | None, higher_is_better: bool
) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "goal": goal,
        "higher_is_better": higher_is_better,
    }
