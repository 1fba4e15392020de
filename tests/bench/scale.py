"""``script/bench scale``: the server's time for lists and pages of a large installation.

The data: 10,000 functions, 1,000 tasks of 10,000 frames, 200,000 requests, half of them with one
function, and 2,000,000 outcomes. One task has 30,000 shapes and 10,000 tracks of 10 keyframes.
Each address is requested in this process, first once, then three times; the value is the median.
It is the processor time of this process and of the database's process: queries and rendering,
without waiting for the processor, so that the figure holds on a machine that does other work.
Pictures are not read: the tasks have no files. A second row tells how long the counting of the rows
takes, if an address counts them.

At the end two web processes answer some of the lists, and their memory is read. The latest
migrations of large tables are reversed and run again. Then a task and the requests of more than two
days ago are deleted. Neither is done if the database is given by its URL.

The database is PostgreSQL. ``CVAT_LAMBDA_BENCH_DATABASE=sqlite`` chooses SQLite. Any other value is
the URL of a PostgreSQL database on this machine; its tables are filled unless they are already.
"""

from __future__ import annotations

import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from cvat_lambda.bounded_paginator import ADMIN_ROWS
from tests.bench import stand
from tests.bench.scale_rows import BUSY, FRAMES, SHORT, Filled, Size, fill
from tests.bench.scale_sizes import measure_sizes

GOAL_MS: Final = 100.0
REPEATS: Final = 3
MEMORY_ROUNDS: Final = 5
MIGRATIONS: Final = (("cvat_lambda", "0012"), ("engine", "0006"))  # the first of each app

__all__ = ["SHORT", "fill", "measure", "run"]


def run(*, short: bool = False) -> Iterator[dict[str, Any]]:
    """Yield a row for each address."""
    size = SHORT if short else Size()
    with tempfile.TemporaryDirectory() as name:
        stand.prepare(Path(name), durable=False)
        began = time.monotonic()
        filled = fill(size)
        yield row("time to fill the database", time.monotonic() - began, "s", None)
        began = time.monotonic()
        yield from measure(filled)
        yield row("time to measure the addresses", time.monotonic() - began, "s", None)
        for label, size_bytes in measure_sizes():
            yield row(label, size_bytes, "B", None)
        yield from measure_memory(Path(name), filled)
        if os.environ.get("CVAT_LAMBDA_BENCH_DATABASE", "sqlite") == "sqlite":
            yield from measure_migrations()
            yield from measure_deletions(filled)


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
    yield from measure_addresses(filled.users, addresses(filled))


def measure_addresses(
    users: dict[str, Any],
    places: Iterable[tuple[str, str, str]],
    clock_type: type[ServerClock] = ServerClock,
) -> Iterator[dict[str, Any]]:
    """Do so for addresses of which each has a label, a user and a path."""
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    clock = clock_type()
    clients = {}
    for name, user in users.items():
        clients[name] = Client(SERVER_NAME="localhost")
        clients[name].force_login(user)
    for label, who, path in places:
        client = clients[who]
        client.get(path)
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(path)
        sql = [query["sql"] for query in queries]  # the next request empties the log
        if answer.status_code != 200:
            raise RuntimeError(f"{path} answers {answer.status_code} to {who}")
        times = []
        for _ in range(REPEATS):
            began = clock.read()
            answer = client.get(path)
            for _ in answer:  # a download is written while it is read
                pass
            times.append((clock.read() - began) * 1000)
        name = f"{label} ({who}, {len(sql)} queries)"
        # A file takes as long as it has lines, and annotations as long as there are some.
        is_data = answer.streaming or label == "annotations of a job"
        goal = None if is_data else GOAL_MS
        yield row(name, statistics.median(times), "ms", goal)
        counts = [query for query in sql if query.startswith("SELECT COUNT(")]
        if counts:
            yield row(f"  its counting of rows ({who})", counting_ms(clock, counts), "ms", None)


def counting_ms(clock: ServerClock, counts: list[str]) -> float:
    """Return the processor time of queries that count rows."""
    from django.db import connection

    times = []
    with connection.cursor() as cursor:
        for _ in range(REPEATS):
            began = clock.read()
            for query in counts:
                cursor.execute(query)
                cursor.fetchall()
            times.append((clock.read() - began) * 1000)
    return statistics.median(times)


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
    yield "one function", who, f"/api/lambda/functions/{BUSY}"
    yield "requests", who, "/api/lambda/requests"
    yield "requests of a task", who, f"/api/lambda/requests?task={task}"
    yield "requests of a function", who, f"/api/lambda/requests?function={BUSY}"
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
    yield "projects", who, "/api/projects?page_size=10"
    for name, number in pages(filled.size.functions, 100):
        yield f"functions, {name}", who, f"/api/lambda/functions?page_size=100&page={number}"
    yield "functions, compact", who, "/api/lambda/functions?fields=compact"
    for name, number in pages(tasks, 24):
        yield f"page: home, {name}", who, f"/?page={number}"
    yield "page: start", who, "/start"
    yield "page: functions", who, "/functions"
    yield "page: functions, last page", who, "/functions?page=10"
    yield "page: functions by search", who, "/functions?search=function-099"
    yield "page: one function", who, f"/functions/{BUSY}"
    yield "page: requests", who, "/requests"
    yield "page: requests, last page", who, "/requests?page=20"
    for state in ("queued", "partly", "undone", "cancelled"):
        yield f"page: requests, {state}", who, f"/requests?state={state}"
    yield "page: requests of a function", who, f"/requests?function={BUSY}"
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
    for name, number in pages(FRAMES, 1):
        place = f"/tasks/{task}/frames/{number - 1}"
        yield f"page: workbench, {name}", who, place
        yield f"page: data of a frame, {name}", who, f"{place}/data"
    yield "page: one track", who, f"/tasks/{task}/tracks/{filled.track}"
    yield "page: task of images", who, f"/tasks/{image_task}"
    yield "page: start on a task", who, f"/start?task={task}"
    yield "page: labels of a function", who, f"/start/functions/{BUSY}?task={image_task}"
    yield "page: new task", who, "/tasks/new"


def admin_pages(filled: Filled) -> Iterator[tuple[str, str, str]]:
    """Yield the lists of the admin site: pages, filters, searches and orders."""
    size = filled.size
    admin, who = "/admin/cvat_lambda", "admin"
    for model, rows, per_page in (
        ("function", size.functions, 50),
        ("request", size.requests, 50),
        ("outcome", size.with_outcomes * FRAMES, 100),
    ):
        for name, number in pages(min(rows, ADMIN_ROWS), per_page):
            yield f"admin: {model}s, {name}", who, f"{admin}/{model}/?p={number}"
    yield "admin: functions by search", who, f"{admin}/function/?q=function-099"
    yield "admin: requests, failed", who, f"{admin}/request/?status__exact=failed"
    yield "admin: requests of a kind", who, f"{admin}/request/?function_kind=detector"
    yield "admin: requests by search", who, f"{admin}/request/?q={BUSY}"
    yield "admin: requests by creation", who, f"{admin}/request/?o=9"
    yield "admin: one request", who, f"{admin}/request/{filled.request}/change/"
    yield "admin: outcomes, failed", who, f"{admin}/outcome/?status__exact=failed"
    yield "admin: outcomes by search", who, f"{admin}/outcome/?q={filled.request}"
    yield "admin: index", who, "/admin/"
    for model in listed_models():
        options = model._meta
        place = f"/admin/{options.app_label}/{options.model_name}/"
        yield f"admin: {options.verbose_name_plural}", who, place
        yield f"admin: {options.verbose_name_plural} by search", who, f"{place}?q=task+99"
    last = min(size.tasks * 20, ADMIN_ROWS) // 50
    yield "admin: labels, last page", who, f"/admin/engine/label/?p={last}"
    yield "admin: one task", who, f"/admin/engine/task/{filled.task}/change/"
    yield "admin: deletion of a task", who, f"/admin/engine/task/{filled.task}/delete/"
    yield "admin: one job", who, f"/admin/engine/job/{filled.job}/change/"
    yield (
        "admin: deletion of a user",
        who,
        (f"/admin/auth/user/{filled.users['member'].pk}/delete/"),
    )
    yield "metrics", who, "/metrics"


def listed_models() -> list[Any]:
    """Return the models that have a list in the admin site."""
    from django.apps import apps
    from django.contrib import admin

    return [model for model in apps.get_models() if admin.site.is_registered(model)]


def pages(rows: int, per_page: int) -> Iterator[tuple[str, int]]:
    """Yield the names and numbers of the first, the middle and the last page."""
    last = max(1, -(-rows // per_page))
    yield "first page", 1
    if last > 2:
        yield "middle page", last // 2
    if last > 1:
        yield "last page", last


def measure_memory(home: Path, filled: Filled) -> Iterator[dict[str, Any]]:
    """Yield the memory of the larger one of two web processes, before and after some lists."""
    import http.client

    from django.test import Client

    from tests.bench.connections import web_processes

    client = Client()
    client.force_login(filled.users["admin"])
    cookie = {"Cookie": f"sessionid={client.cookies['sessionid'].value}"}
    paths = [path for _, who, path in lists(filled, "admin")]
    with web_processes(home) as port:
        yield row("web process, memory at its start", web_mib(), "MiB", None)
        for _ in range(MEMORY_ROUNDS):
            for path in paths:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
                connection.request("GET", path, headers=cookie)
                connection.getresponse().read()
                connection.close()
        name = f"web process, memory after {MEMORY_ROUNDS * len(paths)} lists"
        yield row(name, web_mib(), "MiB", None)


def web_mib() -> float:
    """Return the resident memory of the largest web process."""
    import psutil

    children = psutil.Process().children(recursive=True)
    web = [child for child in children if "cvat_lambda.server.web" in child.cmdline()]
    return max(child.memory_info().rss for child in web) / 2**20


def measure_migrations() -> Iterator[dict[str, Any]]:
    """Reverse the latest migrations that change large tables, and yield the time of each again."""
    from django.core.management import call_command
    from django.db.migrations.loader import MigrationLoader

    for app, first in MIGRATIONS:
        names = sorted(
            name for label, name in MigrationLoader(None).disk_migrations if label == app
        )
        begin = next(index for index, name in enumerate(names) if name.startswith(first))
        call_command("migrate", app, names[begin - 1], verbosity=0)
        for name in names[begin:]:
            began = time.monotonic()
            call_command("migrate", app, name, verbosity=0)
            yield row(f"migration {app}.{name}", time.monotonic() - began, "s", None)


def measure_deletions(filled: Filled) -> Iterator[dict[str, Any]]:
    """Yield the time to delete a function, the shown task, and old requests."""
    from cvat_lambda.engine.standalone.models import Task
    from cvat_lambda.engine.standalone.tasks import delete_task
    from cvat_lambda.functions.models import Function
    from cvat_lambda.requests.control.prune import prune

    deletions: dict[str, Callable[[], Any]] = {
        "deletion of the busy function": Function.objects.filter(pk=BUSY).delete,
        "deletion of the shown task": lambda: delete_task(Task.objects.get(pk=filled.task)),
        "prune_requests: an eighth of the requests": lambda: prune(days=2),
    }
    for name, delete in deletions.items():
        began = time.monotonic()
        delete()
        yield row(name, time.monotonic() - began, "s", None)
    yield row("memory of this process, peak", peak_mib(), "MiB", None)


def peak_mib() -> float:
    """Return the highest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
