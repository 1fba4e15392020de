"""``script/bench memory``: the memory of the web processes while 50 people work for 200 s.

Each person calls a function, lists functions, requests and tasks, and opens pages, one after the
other and without a pause. The resident memory of each web process is read once a second. Its
highest value in the last quarter of the time is compared with that in the first quarter.
``script/bench batch`` compares the peak of a worker over 20,000 frames with that over 200.
"""

from __future__ import annotations

import http.client
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psutil

from tests.bench import stand
from tests.bench.connections import CSRF, add_function, make_users, web_processes

PEOPLE: Final = 50
DURATION_S, SHORT_S = 200.0, 4.0
GROWTH: Final = 1.1  # of the last quarter over the first
LATENCY_MS: Final = 20.0
PATHS: Final = (
    "/api/lambda/functions",
    "/api/lambda/requests",
    "/api/tasks",
    "/",
    "/functions",
    "/requests",
)


def run(*, short: bool = False) -> Iterator[dict[str, Any]]:
    """Yield a row for each measurement."""
    with tempfile.TemporaryDirectory() as name:
        stand.prepare(Path(name))
        yield from measure(Path(name), short=short)


def measure(home: Path, *, short: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows. Django and its database are set up."""
    task_id, sessions = make_users("person")
    with stand.function_process(LATENCY_MS, workers=4) as function_port:
        add_function(function_port)
        with web_processes(home) as port:
            work = Work(port, task_id, sessions)
            samples = work.run(SHORT_S if short else DURATION_S)
    yield row("answers", float(sum(work.statuses.values())), "answers", None)
    yield row("answers with an error", float(work.errors), "answers", 0.0)
    for number, kib in enumerate(samples):
        quarter = max(1, len(kib) // 4)
        first, last = max(kib[:quarter]), max(kib[-quarter:])
        yield row(f"web process {number}, first quarter", first / 1024, "MiB", None)
        yield row(f"web process {number}, last quarter", last / 1024, "MiB", None)
        yield row(f"web process {number}, growth", last / first, "ratio", None if short else GROWTH)


def row(name: str, value: float, unit: str, goal: float | None) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "goal": goal,
        "higher_is_better": False,
    }


class Work:
    """Simulates the people, and samples the memory of the web processes meanwhile."""

    def __init__(self, port: int, task_id: int, sessions: list[str]) -> None:
        self._port = port
        self._body = f'{{"task": {task_id}, "frame": 0}}'
        self._sessions = sessions
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self.statuses: Counter[int] = Counter()

    @property
    def errors(self) -> int:
        """Answers other than a result and the refusal of too many calls at once."""
        return sum(self.statuses[status] for status in self.statuses.keys() - {200, 429, 503})

    def run(self, duration_s: float) -> list[list[int]]:
        """Let the people work. Return the samples of each web process, in KiB."""
        people = [
            threading.Thread(target=self._person, args=(self._sessions[n % len(self._sessions)],))
            for n in range(PEOPLE)
        ]
        for person in people:
            person.start()
        processes = [
            child
            for child in psutil.Process().children(recursive=True)
            if "cvat_lambda.server.web" in child.cmdline()
        ]
        samples: list[list[int]] = [[] for _ in processes]
        interval_s = min(1.0, duration_s / 8)
        for _ in range(round(duration_s / interval_s)):
            time.sleep(interval_s)
            for kib, process in zip(samples, processes, strict=True):
                kib.append(process.memory_info().rss // 1024)
        self._stopped.set()
        for person in people:
            person.join()
        return samples

    def _person(self, session: str) -> None:
        cookie = f"sessionid={session}; csrftoken={CSRF}"
        headers = {"Cookie": cookie, "X-CSRFToken": CSRF, "Content-Type": "application/json"}
        while not self._stopped.is_set():
            self._ask("POST", "/api/lambda/functions/bench", self._body, headers)
            for path in PATHS:
                if not self._stopped.is_set():
                    self._ask("GET", path, None, {"Cookie": cookie})

    def _ask(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
        finally:
            connection.close()
        with self._lock:
            self.statuses[answer.status] += 1
        if answer.status in (429, 503):
            self._stopped.wait(float(answer.headers.get("Retry-After", 1)))
