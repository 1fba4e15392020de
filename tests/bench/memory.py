"""``script/bench memory``: memory and processor time under load: 50 people and a request at once.

Two web processes, one RQ worker and a function of 20 ms run. 10 people work for 40 s, then 50
people for 200 s. Each person calls the function, lists functions, requests and tasks, and opens
pages, one after the other and without a pause. Meanwhile the worker runs a request over frames of
200 KB.

The resident memory of each process is read once a second. Its highest value in the last quarter of
the 200 s is compared with that in the first quarter, and the highest value with 50 people with that
with 10 people. ``script/bench batch`` compares the peak of a worker over 20,000 frames with that
over 200.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, Final

import psutil

from tests.bench.batch import cpu_s, warm_up
from tests.bench.connections import CSRF, add_function, make_users, web_processes
from tests.bench.stand import Stand, function_process, stand, worker_process

FEW: Final = 10
PEOPLE: Final = 50
FEW_S, SHORT_FEW_S = 40.0, 1.0
DURATION_S, SHORT_S = 200.0, 4.0
FRAMES, SHORT_FRAMES = 25_000, 1000  # more than the worker can run; the rest is cancelled
GROWTH: Final = 1.1
LATENCY_MS: Final = 20.0
FUNCTION_WORKERS: Final = 4
OF_REQUEST: Final = 2  # of these workers, so that it runs 100 frames a second at most
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
    with stand() as place:
        yield from measure(place, short=short)


def measure(place: Stand, *, short: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows. Django and its database are set up."""
    task_id, sessions = make_users("person", PEOPLE)
    task = place.task(SHORT_FRAMES if short else FRAMES)
    with (
        function_process(LATENCY_MS, workers=FUNCTION_WORKERS) as function_port,
        worker_process(place.home / "worker.log") as worker,
        web_processes(place.home) as port,
    ):
        add_function(function_port)
        warm_up(place)
        function_id = place.function(function_port, OF_REQUEST, binary=True)
        request = start_request(place, task, function_id)
        work = Work(port, worker, task_id, sessions)
        few = work.run(SHORT_FEW_S if short else FEW_S, FEW)
        before = work.used_s(), frames_done(request), work.answers
        began = time.monotonic()
        many = work.run(SHORT_S if short else DURATION_S, PEOPLE)
        wall_s = time.monotonic() - began
        after = work.used_s(), frames_done(request), work.answers
        cancel_if_live(request)
    web_s, worker_s = (after[0][name] - before[0][name] for name in ("web", "worker"))
    frames, answers = after[1] - before[1], after[2] - before[2]
    yield row("answers with an error", float(work.errors), "answers", 0.0)
    yield row("answers a second", answers / wall_s, "answers/s", None)
    yield row("web processes, processor time an answer", web_s * 1000 / answers, "ms", None)
    yield row("worker, frames a second", frames / wall_s, "frames/s", None)
    if frames:
        yield row("worker, processor time a frame", worker_s * 1000 / frames, "ms", None)
        yield row("worker, frames a second of one core", frames / worker_s, "frames/s", None)
    goal = None if short else GROWTH
    for name, kib in many.items():
        quarter = max(1, len(kib) // 4)
        yield row(f"{name}, peak", max(kib) / 1024, "MiB", None)
        yield row(
            f"{name}, last / first quarter", max(kib[-quarter:]) / max(kib[:quarter]), "ratio", goal
        )
        if few[name]:
            yield row(f"{name}, {PEOPLE} / {FEW} people", max(kib) / max(few[name]), "ratio", goal)


def row(name: str, value: float, unit: str, goal: float | None) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "goal": goal,
        "higher_is_better": False,
    }


def start_request(place: Stand, task: Any, function_id: str) -> Any:
    """Start a request over all frames of a task. Return its row."""
    from cvat_lambda.engine.standalone.access import StandaloneAccess
    from cvat_lambda.requests.control.create import create_request

    access = StandaloneAccess(place.owner)
    return create_request(access, function_id=function_id, task_id=task.pk)


def frames_done(request: Any) -> int:
    """Return how many frames of the request have an outcome. Raise RuntimeError if some failed."""
    request.refresh_from_db()
    if request.failed:
        raise RuntimeError(f"{request.failed} frames failed")
    return int(request.done)


def cancel_if_live(request: Any) -> None:
    from cvat_lambda.requests.control.cancel import cancel_request

    cancel_request(request)


class Work:
    """Simulates the people, and samples the memory of the processes meanwhile."""

    def __init__(self, port: int, worker: int, task_id: int, sessions: list[str]) -> None:
        self._port = port
        self._body = f'{{"task": {task_id}, "frame": 0}}'
        self._sessions = sessions
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._worker = psutil.Process(worker)
        self._web = [
            child
            for child in psutil.Process().children(recursive=True)
            if "cvat_lambda.server.web" in child.cmdline()
        ]
        self.statuses: Counter[int] = Counter()

    @property
    def answers(self) -> int:
        return sum(self.statuses.values())

    @property
    def errors(self) -> int:
        """Answers other than a result and the refusal of too many calls at once."""
        return sum(self.statuses[status] for status in self.statuses.keys() - {200, 429, 503})

    def used_s(self) -> dict[str, float]:
        """Return the processor time so far of the web processes and of the worker."""
        web = sum(cpu_s(process.pid) for process in self._web)
        return {"web": web, "worker": cpu_s(self._worker.pid)}

    def run(self, duration_s: float, number: int) -> dict[str, list[int]]:
        """Let a number of people work. Return the samples by process, in KiB."""
        self._stopped.clear()
        people = [
            threading.Thread(target=self._person, args=(session,))
            for session in self._sessions[:number]
        ]
        for person in people:
            person.start()
        samples: dict[str, list[int]] = defaultdict(list)
        interval_s = min(1.0, duration_s / 8)
        for _ in range(round(duration_s / interval_s)):
            time.sleep(interval_s)
            self._sample(samples)
        self._stopped.set()
        for person in people:
            person.join()
        return samples

    def _sample(self, samples: dict[str, list[int]]) -> None:
        for number, process in enumerate(self._web):
            samples[f"web process {number}"].append(process.memory_info().rss // 1024)
        for child in self._worker.children():  # the process that runs the request
            try:
                samples["worker"].append(child.memory_info().rss // 1024)
            except psutil.NoSuchProcess:
                continue

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
