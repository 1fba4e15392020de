"""``script/bench scale``: the server's time for lists and pages of a large installation.

The data: 10,000 functions, 1,000 tasks of 10,000 frames, 200,000 requests and 2,000,000 outcomes.
Each address is requested in this process, first once, then three times; the value is the median.
It is the processor time of this process and of the database's process: queries and rendering,
without waiting for the processor, so that the figure holds on a machine that does other work.

The database is PostgreSQL. ``CVAT_LAMBDA_BENCH_DATABASE=sqlite`` chooses SQLite. Any other value is
the URL of a PostgreSQL database on this machine; its tables are filled unless they are already.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from cvat_lambda.bounded_paginator import ADMIN_ROWS
from tests.bench import stand
from tests.bench.scale_rows import FRAMES, SHORT, Filled, Size, fill
from tests.bench.scale_sizes import measure_sizes

GOAL_MS: Final = 100.0
REPEATS: Final = 3

__all__ = ["SHORT", "fill", "measure", "run"]


def run(*, short: bool = False) -> Iterator[dict[str, Any]]:
    """Yield a row for each address."""
    size = SHORT if short else Size()
    with tempfile.TemporaryDirectory() as name:
        stand.prepare(Path(name), durable=False)
        began = time.monotonic()
        filled = fill(size)
        yield row("time to fill the database", time.monotonic() - began, "s", None)
        yield from measure(filled)
        for label, size_bytes in measure_sizes():
            yield row(label, size_bytes, "B", None)


def row(name: str, value: float, unit: str, goal: float | None) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 1),
        "unit": unit,
        "goal": goal,
        "higher_is_better": False,
    }


class ServerClock:
    """Reads the processor time of this process and of its database process, in seconds.

    SQLite works in this process. PostgreSQL may use no parallel workers, whose time would be
    missing.
    """

    def __init__(self) -> None:
        from django.db import connection

        self._database: Path | None = None
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET max_parallel_workers_per_gather = 0")
                cursor.execute("SELECT pg_backend_pid()")
                self._database = Path(f"/proc/{cursor.fetchone()[0]}/schedstat")

    def read(self) -> float:
        database_ns = int(self._database.read_text().split()[0]) if self._database else 0
        return time.process_time() + database_ns / 1e9


def measure(filled: Filled) -> Iterator[dict[str, Any]]:
    """Request each address and yield its time and its number of queries."""
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    clock = ServerClock()
    clients = {}
    for name, user in filled.users.items():
        clients[name] = Client(SERVER_NAME="localhost")
        clients[name].force_login(user)
    for label, who, path in addresses(filled):
        client = clients[who]
        client.get(path)
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(path)
        count = len(queries)  # the next request empties the log
        if answer.status_code != 200:
            raise RuntimeError(f"{path} answers {answer.status_code} to {who}")
        times = []
        for _ in range(REPEATS):
            began = clock.read()
            answer = client.get(path)
            for _ in answer:  # a download is written while it is read
                pass
            times.append((clock.read() - began) * 1000)
        name = f"{label} ({who}, {count} queries)"
        # A file takes as long as it has lines.
        goal = None if answer.streaming else GOAL_MS
        yield row(name, statistics.median(times), "ms", goal)


def addresses(filled: Filled) -> Iterator[tuple[str, str, str]]:
    """Yield a label, a user and a path."""
    for who in filled.users:
        yield from lists(filled, who)
    for who in ("admin", "member"):
        yield from details(filled, who)
    yield from admin_pages(filled)


def lists(filled: Filled, who: str) -> Iterator[tuple[str, str, str]]:
    """Yield the lists, which every user may open."""
    task = filled.task
    yield "functions", who, "/api/lambda/functions"
    yield "one function", who, "/api/lambda/functions/function-00050"
    yield "requests", who, "/api/lambda/requests"
    yield "requests of a task", who, f"/api/lambda/requests?task={task}"
    yield "requests of a function", who, "/api/lambda/requests?function=function-00050"
    for status in ("started", "failed", "finished"):
        yield f"requests, {status}", who, f"/api/lambda/requests?status={status}"
    yield "CVAT's requests", who, "/api/requests?page_size=10"
    tasks = {"admin": filled.size.tasks, "member": filled.own_tasks}.get(who, 1)
    for name, number in pages(tasks, 10):
        yield f"tasks, {name}", who, f"/api/tasks?page_size=10&page={number}"
    yield "tasks by search", who, "/api/tasks?page_size=10&search=99"
    for name, number in pages(tasks * 10 if tasks > 1 else 1, 10):
        yield f"jobs, {name}", who, f"/api/jobs?page_size=10&page={number}"
    yield "labels", who, "/api/labels?page_size=10"
    yield "page: home", who, "/"
    yield "page: start", who, "/start"
    yield "page: functions", who, "/functions"
    yield "page: functions, last page", who, "/functions?page=10"
    yield "page: functions by search", who, "/functions?search=function-099"
    yield "page: one function", who, "/functions/function-00050"
    yield "page: requests", who, "/requests"
    yield "page: requests, last page", who, "/requests?page=20"
    for state in ("queued", "partly", "undone", "cancelled"):
        yield f"page: requests, {state}", who, f"/requests?state={state}"
    yield "page: requests of a function", who, "/requests?function=function-00050"
    yield "page: requests of a task", who, f"/requests?task={task}"
    for owner in ("member", "former", "nobody"):
        yield f"page: requests of {owner}", who, f"/requests?owner={owner}"
    yield "page: requests of the last hour", who, "/requests?period=1"
    yield "page: requests of the last 30 days", who, "/requests?period=720"
    both = f"/requests?state=partly&owner=member&task={task}"
    yield "page: requests by three filters", who, both


def details(filled: Filled, who: str) -> Iterator[tuple[str, str, str]]:
    """Yield what shows one request or one task."""
    request, task, image_task = filled.request, filled.task, filled.image_task
    yield "one request", who, f"/api/lambda/requests/{request}"
    outcomes = f"/api/lambda/requests/{request}/outcomes?page_size=100"
    for name, number in pages(FRAMES, 100):
        yield f"outcomes, {name}", who, f"{outcomes}&page={number}"
    yield "outcomes, failed", who, f"{outcomes}&status=failed"
    yield "page: request", who, f"/requests/{request}"
    yield "page: request, live part", who, f"/requests/{request}/live?status=finished&failed=100"
    yield "page: request, failures", who, f"/requests/{request}/failures"
    yield "page: request, progress", who, f"/requests/{request}/progress"
    yield "file: outcomes as CSV", who, f"/requests/{request}/outcomes.csv"
    yield "file: outcomes as JSON", who, f"/requests/{request}/outcomes.json"
    yield "one task", who, f"/api/tasks/{task}"
    yield "one job", who, f"/api/jobs/{filled.job}"
    yield "jobs of a task", who, f"/api/jobs?task_id={task}"
    yield "labels of a task", who, f"/api/labels?task_id={task}&page_size=100"
    yield "meta of a video", who, f"/api/tasks/{task}/data/meta"
    yield "meta of images", who, f"/api/tasks/{image_task}/data/meta"
    yield "annotations of a job", who, f"/api/jobs/{filled.job}/annotations"
    for name, number in pages(FRAMES, 24):
        yield f"page: task, {name}", who, f"/tasks/{task}?page={number}"
    yield "page: task of images", who, f"/tasks/{image_task}"
    yield "page: start on a task", who, f"/start?task={task}"
    yield "page: new task", who, "/tasks/new"


def admin_pages(filled: Filled) -> Iterator[tuple[str, str, str]]:
    """Yield the lists of the admin site: pages, filters, searches and orders."""
    size = filled.size
    admin, who = "/admin/cvat_lambda", "admin"
    for model, rows, per_page in (
        ("function", size.functions, 100),
        ("request", size.requests, 50),
        ("outcome", size.with_outcomes * FRAMES, 100),
    ):
        for name, number in pages(min(rows, ADMIN_ROWS), per_page):
            yield f"admin: {model}s, {name}", who, f"{admin}/{model}/?p={number}"
    yield "admin: functions by search", who, f"{admin}/function/?q=function-099"
    yield "admin: requests, failed", who, f"{admin}/request/?status__exact=failed"
    yield "admin: requests of a kind", who, f"{admin}/request/?function_kind=detector"
    yield "admin: requests by search", who, f"{admin}/request/?q=function-00050"
    yield "admin: requests by creation", who, f"{admin}/request/?o=9"
    yield "admin: one request", who, f"{admin}/request/{filled.request}/change/"
    yield "admin: outcomes, failed", who, f"{admin}/outcome/?status__exact=failed"
    yield "admin: outcomes by search", who, f"{admin}/outcome/?q={filled.request}"
    for model in ("task", "job", "label"):
        yield f"admin: {model}s", who, f"/admin/engine/{model}/"
    last = min(size.tasks * 20, ADMIN_ROWS) // 100
    yield "admin: labels, last page", who, f"/admin/engine/label/?p={last}"
    yield "admin: one task", who, f"/admin/engine/task/{filled.task}/change/"
    yield "admin: users", who, "/admin/auth/user/"
    yield "metrics", who, "/metrics"


def pages(rows: int, per_page: int) -> Iterator[tuple[str, int]]:
    """Yield the names and numbers of the first, the middle and the last page."""
    last = max(1, -(-rows // per_page))
    yield "first page", 1
    if last > 2:
        yield "middle page", last // 2
    if last > 1:
        yield "last page", last
