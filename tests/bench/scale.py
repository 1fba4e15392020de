"""``script/bench scale``: the server's time for lists and pages of a large installation.

The data: 10,000 functions, 1,000 tasks of 10,000 frames, 200,000 requests and 2,000,000 outcomes.
Each address is requested in this process, first once, then three times; the value is the median.
It includes the queries and the rendering. The database is PostgreSQL;
``CVAT_LAMBDA_BENCH_DATABASE=sqlite`` chooses SQLite, and processor time instead of time.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import stand

GOAL_MS = 100.0
REPEATS = 3
FRAMES = 10_000
LABELS = [{"id": number, "name": f"label {number}", "type": "rectangle"} for number in range(20)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many rows there are."""

    functions: int = 10_000
    tasks: int = 1_000
    requests: int = 200_000
    with_outcomes: int = 200  # requests that have an outcome for each frame


SHORT = Size(functions=100, tasks=10, requests=400, with_outcomes=2)


def run(*, short: bool = False) -> Iterator[dict[str, Any]]:
    """Yield a row for each address."""
    size = SHORT if short else Size()
    with tempfile.TemporaryDirectory() as name:
        stand.prepare(Path(name))
        began = time.monotonic()
        found = fill(size)
        yield row("time to fill the database", time.monotonic() - began, "s", None)
        yield from measure(found)


def row(name: str, value: float, unit: str, goal: float | None) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 1),
        "unit": unit,
        "goal": goal,
        "higher_is_better": False,
    }


def measure(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Request each address and yield its time and its number of queries."""
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    # SQLite works in this process, so its processor time is in the figure. It tells more than the
    # time on the wall on a machine that does something else as well.
    clock = time.process_time if connection.vendor == "sqlite" else time.perf_counter
    clients = {}
    for name in ("admin", "member"):
        clients[name] = Client(SERVER_NAME="localhost")
        clients[name].force_login(found[name])
    for label, who, path in addresses(found):
        client = clients[who]
        client.get(path)
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(path)
        count = len(queries)  # the next request empties the log
        if answer.status_code != 200:
            raise RuntimeError(f"{path} answers {answer.status_code}")
        times = []
        for _ in range(REPEATS):
            began = clock()
            client.get(path)
            times.append((clock() - began) * 1000)
        name = f"{label} ({who}, {count} queries)"
        yield row(name, statistics.median(times), "ms", GOAL_MS)


def addresses(found: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield a label, a user and a path."""
    tasks = found["tasks"]
    for who in ("admin", "member"):
        yield "functions", who, "/api/lambda/functions"
        yield "one function", who, "/api/lambda/functions/function-00050"
        yield "requests", who, "/api/lambda/requests"
        yield "requests of a task", who, f"/api/lambda/requests?task={found['task']}"
        yield "one request", who, f"/api/lambda/requests/{found['request']}"
        outcomes = f"/api/lambda/requests/{found['request']}/outcomes?page_size=100"
        yield "outcomes, first page", who, outcomes
        yield "outcomes, last page", who, f"{outcomes}&page={FRAMES // 100}"
        yield "CVAT's requests", who, "/api/requests?page_size=10"
        yield "tasks, first page", who, "/api/tasks?page_size=10"
        last = max(1, (tasks if who == "admin" else found["own_tasks"]) // 10)
        yield "tasks, last page", who, f"/api/tasks?page_size=10&page={last}"
        yield "jobs, first page", who, "/api/jobs?page_size=10"
        yield "a task's meta", who, f"/api/tasks/{found['task']}/data/meta"
        yield "page: home", who, "/"
        yield "page: functions", who, "/functions"
        yield "page: task", who, f"/tasks/{found['task']}"
        yield "page: request", who, f"/requests/{found['request']}"
    admin = "/admin/cvat_lambda"
    for model, last in (
        ("function", found["functions"] // 100),
        ("request", found["requests"] // 100),
        ("outcome", 0),
    ):
        yield f"admin: {model}s", "admin", f"{admin}/{model}/"
        if last > 1:
            yield f"admin: {model}s, last page", "admin", f"{admin}/{model}/?p={last}"
    yield "admin: tasks", "admin", "/admin/engine/task/"


def fill(size: Size) -> dict[str, Any]:
    """Fill the tables. Return the objects that addresses need."""
    from django.contrib.auth.models import User

    admin = User.objects.create_superuser("admin")
    member = User.objects.create_user("member")
    fill_functions(size.functions)
    own_tasks = size.tasks // 10
    task = fill_tasks(size.tasks, own_tasks, member)
    request = fill_requests(size, task, member)
    analyze()
    return {
        "admin": admin,
        "member": member,
        "task": task,
        "tasks": size.tasks,
        "own_tasks": own_tasks,
        "request": request,
        "requests": size.requests,
        "functions": size.functions,
    }


def fill_functions(count: int) -> None:
    from cvat_lambda.functions.models import Function

    metadata: dict[str, Any] = {
        "metadata": {
            "name": "",
            "annotations": {"type": "detector", "spec": json.dumps(LABELS), "name": "Detector"},
        },
        "spec": {"description": "A detector", "triggers": {}},
        "status": {"state": "ready"},
    }
    rows = []
    for number in range(count):
        name = f"function-{number:05d}"
        own = {**metadata, "metadata": {**metadata["metadata"], "name": name}}
        rows.append(Function(id=name, kind="detector", name="Detector", metadata=own))
    Function.objects.bulk_create(rows, batch_size=1000)


def fill_tasks(count: int, own: int, member: Any) -> int:
    """Create tasks; the last ones belong to the member. Return the newest one's id."""
    from cvat_lambda.engine.standalone import models

    tasks = models.Task.objects.bulk_create(
        models.Task(name=f"task {number}", owner=member if number >= count - own else None)
        for number in range(count)
    )
    models.Label.objects.bulk_create(
        models.Label(task=task, name=f"label {number}") for task in tasks for number in range(20)
    )
    data = models.Data.objects.bulk_create(
        models.Data(
            task=task,
            kind="video",
            folder=f"folder-{task.pk}",
            size=FRAMES,
            size_bytes=1,
            stop_frame=FRAMES - 1,
            chunk_size=36,
            fingerprint="0",
        )
        for task in tasks
    )
    times = models.Video.pack(list(range(FRAMES)))
    models.Video.objects.bulk_create(
        (
            models.Video(
                data=one,
                name="video.mp4",
                path="original/video.mp4",
                width=1280,
                height=720,
                timestamps=times,
                key_timestamps=times[:8],
            )
            for one in data
        ),
        batch_size=50,
    )
    segments = models.Segment.objects.bulk_create(
        models.Segment(task=task, start_frame=start, stop_frame=start + 999)
        for task in tasks
        for start in range(0, FRAMES, 1000)
    )
    models.Job.objects.bulk_create(models.Job(segment=segment) for segment in segments)
    return int(tasks[-1].pk)


def fill_requests(size: Size, task: int, member: Any) -> str:
    """Create requests; each hundredth one runs. Return the id of one that has outcomes."""
    from cvat_lambda.requests.store.models import Outcome, Request, Shard

    request = Request.objects.create(
        id="req-template",
        owner=member,
        task_id=task,
        function_id="function-00050",
        function_kind="detector",
        params={"mapping": {}, "threshold": 0.5},
        status="finished",
        total=FRAMES,
        done=FRAMES,
    )
    shard = Shard.objects.create(
        request=request,
        index=0,
        task_id=task,
        frames=[[0, FRAMES - 1]],
        first_frame=0,
        last_frame=FRAMES - 1,
        status="finished",
        total=FRAMES,
        done=FRAMES,
    )
    outcome = Outcome.objects.create(
        request=request, shard=shard, task_id=task, frame=0, status="done", shapes=3
    )
    last = size.requests - 1
    multiply(
        request,
        last,
        id="'req-' || CAST(n.i AS text)",
        task_id=f"1 + n.i %% {size.tasks}",
        owner_id=f"CASE WHEN n.i %% 20 = 0 THEN {member.pk} END",
        created_at=earlier("created_at"),
        status="CASE WHEN n.i %% 1000 = 7 THEN 'started' ELSE 'finished' END",
    )
    multiply(
        shard,
        last,
        request_id="'req-' || CAST(n.i AS text)",
        task_id=f"1 + n.i %% {size.tasks}",
        status="CASE WHEN n.i %% 1000 = 7 THEN 'started' ELSE 'finished' END",
    )
    multiply(outcome, FRAMES - 1, frame="n.i + 1")
    for number in range(size.with_outcomes - 1):
        of = Shard.objects.get(request_id=f"req-{number}")
        multiply(outcome, FRAMES, frame="n.i", request_id=f"'{of.request_id}'", shard_id=str(of.pk))
    return request.pk


def earlier(column: str) -> str:
    """Return SQL for a time that is n.i seconds before a column."""
    from django.db import connection

    if connection.vendor == "sqlite":
        return f"datetime({column}, '-' || (n.i + 1) || ' seconds')"
    return f"{column} - (n.i + 1) * interval '1 second'"


def multiply(template: Any, count: int, **expressions: str) -> None:
    """Insert copies of a row; expressions replace columns, and n.i counts from 0."""
    from django.db import connection
    from django.db.models import AutoField

    meta = template._meta
    fields = [field for field in meta.concrete_fields if not isinstance(field, AutoField)]
    columns = [field.column for field in fields]
    values = [expressions.get(column, f't."{column}"') for column in columns]
    names = ", ".join(f'"{column}"' for column in columns)
    table, key = meta.db_table, meta.pk.column
    with connection.cursor() as cursor:
        cursor.execute(
            f'INSERT INTO "{table}" ({names}) '
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %s) "
            f'SELECT {", ".join(values)} FROM "{table}" t, n WHERE t."{key}" = %s',
            [count - 1, template.pk],
        )


def analyze() -> None:
    """Let the database collect the statistics that its planner uses."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
