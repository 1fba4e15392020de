"""The server's time for this app's lists and pages in a large CVAT: ``script/test-cvat scale``.

The data are those of ``script/bench scale``: 10,000 functions, 1,000 tasks of 10,000 frames with 10
jobs each, 200,000 requests, half of them with one function, and 2,000,000 outcomes. They are in a
copy of CVAT's database, which is deleted at the end. Each address is requested in this process,
with CVAT's middleware. The value is the processor time of this process and of the database's
process, without that of the questions to the policy server.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.bench.scale import ServerClock, measure_addresses, pages, row
from tests.bench.scale_rows import (
    BUSY,
    FRAMES,
    JOBS,
    PROJECTS,
    SHORT,
    Places,
    Size,
    analyze,
    fill_functions,
    fill_requests,
    with_quick_writes,
)
from tests.inside_cvat.timed_asgi import asked, count_questions

DATABASE: Final = "cvat_lambda_scale"
CONSOLE: Final = "/api/lambda/console"
USERS: Final = ("admin", "member", "assignee", "former", "stranger")


class AppClock(ServerClock):
    """Leaves the questions to the policy server out."""

    def read(self) -> float:
        return super().read() - asked.processor_s


@contextmanager
def copied_database() -> Iterator[None]:
    """Let this process use a copy of CVAT's database. Delete the copy at the end."""
    from django.db import connection

    original = connection.settings_dict["NAME"]
    _statement(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    _statement(f'CREATE DATABASE {DATABASE} TEMPLATE "{original}"')
    connection.settings_dict["NAME"] = DATABASE
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = original
        _statement(f"DROP DATABASE {DATABASE} WITH (FORCE)")


def _statement(sql: str) -> None:
    """Run a statement in the database ``postgres``: the copied one may have no connection."""
    from django.db import connection

    connection.close()
    original = connection.settings_dict["NAME"]
    connection.settings_dict["NAME"] = "postgres"
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
    finally:
        connection.close()
        connection.settings_dict["NAME"] = original


def fill(size: Size) -> dict[str, Any]:
    """Fill the tables. Return the users by name, as in `tests.bench.scale_rows`."""
    users = create_users()
    with_quick_writes(lambda: fill_tables(size, users))
    return users


def create_users() -> dict[str, Any]:
    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import Group

    model: Any = get_user_model()
    users = {}
    for name in USERS:
        is_admin = name == "admin"
        user = model.objects.create_user(
            f"scale-{name}", f"{name}@example.com", is_staff=is_admin, is_superuser=is_admin
        )
        group = Group.objects.get_or_create(name="admin" if is_admin else "user")[0]
        user.groups.add(group)
        users[name] = user
    return users


def fill_tables(size: Size, users: dict[str, Any]) -> None:
    fill_functions(size.functions)
    places = fill_tasks(size, users)
    member = users["member"]
    meta = {
        "user": {"id": member.pk, "username": member.username, "email": member.email},
        "request": {"uuid": "0", "timestamp": "2026-01-01T00:00:00+00:00"},
        "org_id": None,
        "org_slug": None,
        "project_id": None,
        "task_id": places.member_task,
        "job_id": None,
        "function_id": BUSY,
    }
    fill_requests(size, users, places, meta=meta)
    analyze()


def fill_tasks(size: Size, users: dict[str, Any]) -> Places:
    """Create videos; the member owns each tenth, and the assignee has a job of each hundredth."""
    from cvat.apps.engine import models

    projects = models.Project.objects.bulk_create(
        models.Project(name=f"project {number}", owner=users["admin"]) for number in range(PROJECTS)
    )
    data = models.Data.objects.bulk_create(
        models.Data(size=FRAMES, stop_frame=FRAMES - 1, chunk_size=36) for _ in range(size.tasks)
    )
    models.Video.objects.bulk_create(
        models.Video(data=one, path="video.mp4", width=1280, height=720) for one in data
    )
    first_own = size.tasks - max(2, size.tasks // 10)
    tasks = models.Task.objects.bulk_create(
        models.Task(
            name=f"task {number}",
            mode="interpolation",
            owner=users["member" if number >= first_own else "admin"],
            project=projects[number // 2 % PROJECTS] if 9 < number < first_own else None,
            data=one,
            segment_size=FRAMES // JOBS,
            overlap=0,
        )
        for number, one in enumerate(data)
    )
    models.Label.objects.bulk_create(
        models.Label(task=task, name=f"label {number}", type="rectangle")
        for task in tasks
        if task.project_id is None
        for number in range(20)
    )
    segments = models.Segment.objects.bulk_create(
        models.Segment(task=task, start_frame=start, stop_frame=start + FRAMES // JOBS - 1)
        for task in tasks
        for start in range(0, FRAMES, FRAMES // JOBS)
    )
    jobs = models.Job.objects.bulk_create(
        models.Job(
            segment=segment,
            assignee=users["assignee"] if number % (100 * JOBS) == 57 else None,
        )
        for number, segment in enumerate(segments)
    )
    return Places(
        first_task=tasks[0].pk, member_task=tasks[-1].pk, first_job=jobs[0].pk, first_shape=1
    )


def addresses(size: Size, users: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield a label, a user and a path of each list and page."""
    from cvat_lambda.requests.store.models import Request

    request = Request.objects.get(pk="req-template")
    assert request.task_id is not None
    for who in users:
        yield from lists(size, who, request.task_id)
    for who in {"admin", "member"} & set(users):
        yield from details(who, request.pk, request.task_id)


def lists(size: Size, who: str, task: int) -> Iterator[tuple[str, str, str]]:
    """Yield the lists, which every user may open."""
    yield "functions", who, "/api/lambda/functions"
    yield "functions, compact", who, "/api/lambda/functions?fields=compact"
    for name, number in pages(size.functions, 100):
        yield f"functions, {name}", who, f"/api/lambda/functions?page_size=100&page={number}"
    yield "one function", who, f"/api/lambda/functions/{BUSY}"
    yield "requests", who, "/api/lambda/requests"
    yield "requests of a function", who, f"/api/lambda/requests?function={BUSY}"
    for status in ("started", "failed", "finished"):
        yield f"requests, {status}", who, f"/api/lambda/requests?status={status}"
    yield "CVAT's requests", who, "/api/requests?page_size=10"
    yield "page: start", who, f"{CONSOLE}/start"
    yield "page: functions", who, f"{CONSOLE}/functions"
    yield "page: functions, last page", who, f"{CONSOLE}/functions?page=10"
    yield "page: functions by search", who, f"{CONSOLE}/functions?search=function-099"
    yield "page: one function", who, f"{CONSOLE}/functions/{BUSY}"
    yield "page: requests", who, f"{CONSOLE}/requests"
    yield "page: requests, last page", who, f"{CONSOLE}/requests?page=20"
    for state in ("queued", "partly", "undone", "cancelled"):
        yield f"page: requests, {state}", who, f"{CONSOLE}/requests?state={state}"
    yield "page: requests of a function", who, f"{CONSOLE}/requests?function={BUSY}"
    for owner in ("member", "former", "nobody"):
        yield f"page: requests of {owner}", who, f"{CONSOLE}/requests?owner=scale-{owner}"
    yield "page: requests of the last hour", who, f"{CONSOLE}/requests?period=1"
    yield "page: requests of the last 30 days", who, f"{CONSOLE}/requests?period=720"
    if who in ("admin", "member"):
        yield "requests of a task", who, f"/api/lambda/requests?task={task}"
        yield "page: requests of a task", who, f"{CONSOLE}/requests?task={task}"


def details(who: str, request: str, task: int) -> Iterator[tuple[str, str, str]]:
    """Yield what shows one request, and the form on a task."""
    yield "one request", who, f"/api/lambda/requests/{request}"
    outcomes = f"/api/lambda/requests/{request}/outcomes?page_size=100"
    for name, number in pages(FRAMES, 100):
        yield f"outcomes, {name}", who, f"{outcomes}&page={number}"
    yield "outcomes, failed", who, f"{outcomes}&status=failed"
    page = f"{CONSOLE}/requests/{request}"
    yield "page: request", who, page
    yield "page: request, live part", who, f"{page}/live?status=finished&failed=100"
    yield "page: request, failures", who, f"{page}/failures"
    yield "page: request, progress", who, f"{page}/progress"
    yield "page: start on a task", who, f"{CONSOLE}/start?task={task}"
    yield "page: labels of a function", who, f"{CONSOLE}/start/functions/{BUSY}?task={task}"


def main() -> None:
    """Fill a copy of the database, and print a row for each address."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="few rows: does it still run?")
    parser.add_argument("--users", nargs="+", choices=USERS, default=USERS, help="of these users")
    options = parser.parse_args()
    size = SHORT if options.short else Size()
    with tempfile.TemporaryDirectory(prefix="cvat-lambda-scale-") as folder:
        os.environ["CVAT_LAMBDA_TEST_HOME"] = folder
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.inside_cvat.settings"
        import django
        from django.core.management import call_command

        django.setup()
        with copied_database():
            call_command("migrate", verbosity=0)
            begun = time.monotonic()
            users = fill(size)
            print(json.dumps(row("time to fill", time.monotonic() - begun, "s", None)), flush=True)
            wanted = {name: users[name] for name in options.users}
            count_questions()
            for found in measure_addresses(wanted, addresses(size, wanted), AppClock):
                print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
