"""The rows of ``script/bench scale``: functions, tasks, users, requests and outcomes.

Rows are copied inside the database from one template row a table, since millions of rows would
take minutes to send.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

FRAMES: Final = 10_000  # of a task
LABELS: Final = [
    {"id": number, "name": f"label {number}", "type": "rectangle"} for number in range(20)
]
PROJECTS: Final = 10  # have half of the tasks
JOBS: Final = 10  # of a task
SHAPES: Final = 3  # of a frame of the shown task
TRACKS, KEYFRAMES = 10_000, 10  # of the shown task; a track has a keyframe on each of its frames
BUSY: Final = "function-00050"  # half of the requests ran it


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many rows there are."""

    functions: int = 10_000
    tasks: int = 1_000
    image_tasks: int = 5  # the first ones; the others have a video
    requests: int = 200_000
    with_outcomes: int = 200  # requests that have an outcome for each frame


SHORT: Final = Size(functions=100, tasks=20, image_tasks=1, requests=400, with_outcomes=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """The rows that the addresses of the benchmark name."""

    size: Size
    users: dict[str, Any]  # by the names in `fill_users`
    task: int  # of the member, a video with shapes
    image_task: int  # of the member as well, with an image a frame
    job: int  # of the task
    track: int  # of the task
    request: str  # of the member, on the task, with an outcome for each frame
    own_tasks: int  # tasks of the member


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The ids of the rows that requests name. Tasks and their jobs have consecutive ids."""

    first_task: int
    member_task: int
    first_job: int
    first_shape: int


def fill(size: Size) -> Filled:
    """Fill the tables, unless they are filled. Return what the addresses need."""
    from cvat_lambda.requests.store.models import Request

    users = fill_users()
    own_tasks = max(2, size.tasks // 10)
    if not Request.objects.filter(pk="req-template").exists():
        with_quick_writes(lambda: fill_tables(size, users, own_tasks))
    return found(size, users, own_tasks)


def fill_tables(size: Size, users: dict[str, Any], own_tasks: int) -> None:
    fill_functions(size.functions)
    fill_tasks(size, own_tasks, users)
    fill_requests(size, users, standalone_places(users))
    analyze()


def standalone_places(users: dict[str, Any]) -> Places:
    from cvat_lambda.engine.standalone.models import Job, LabeledShape, Task

    mine = Task.objects.filter(owner=users["member"])
    return Places(
        first_task=Task.objects.order_by("pk").values_list("pk", flat=True)[0],
        member_task=mine.order_by("-pk").values_list("pk", flat=True)[0],
        first_job=Job.objects.order_by("pk").values_list("pk", flat=True)[0],
        first_shape=LabeledShape.objects.order_by("pk").values_list("pk", flat=True)[0],
    )


def found(size: Size, users: dict[str, Any], own_tasks: int) -> Filled:
    from cvat_lambda.engine.standalone.models import Data, Job, LabeledTrack

    mine = Data.objects.filter(task__owner=users["member"]).order_by("-task_id")
    task = mine.filter(kind="video").values_list("task_id", flat=True)[0]
    job = Job.objects.filter(segment__task_id=task).values_list("pk", flat=True)[0]
    return Filled(
        size=size,
        users=users,
        task=task,
        image_task=mine.filter(kind="images").values_list("task_id", flat=True)[0],
        job=job,
        track=LabeledTrack.objects.filter(task=task).values_list("pk", flat=True)[0],
        request="req-template",
        own_tasks=own_tasks,
    )


def fill_users() -> dict[str, Any]:
    """Create the users, unless they exist.

    ``member`` owns each tenth task, ``assignee`` is assigned one job in each hundredth task,
    ``former`` started requests on tasks that the user no longer sees, and ``stranger`` has nothing.
    """
    from django.contrib.auth.models import User

    users: dict[str, Any] = {}
    for name in ("admin", "member", "assignee", "former", "stranger"):
        is_admin = name == "admin"
        users[name], _ = User.objects.get_or_create(
            username=name, defaults={"is_staff": is_admin, "is_superuser": is_admin}
        )
    return users


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


def fill_tasks(size: Size, own: int, users: dict[str, Any]) -> None:
    """Create tasks; the first ones have images, and the last ones belong to the member."""
    from cvat_lambda.engine.standalone import models

    projects = models.Project.objects.bulk_create(
        models.Project(name=f"project {number}") for number in range(PROJECTS)
    )
    tasks = models.Task.objects.bulk_create(
        models.Task(
            name=f"task {number}",
            owner=users["member"] if is_own else None,
            project=projects[number // 2 % PROJECTS] if number % 2 == 0 and number > 9 else None,
            subset="Train",
        )
        for number in range(size.tasks)
        for is_own in [number >= size.tasks - own + 1 or number == 0]
    )
    models.Label.objects.bulk_create(
        models.Label(task=task, name=f"label {number}") for task in tasks for number in range(20)
    )
    data = models.Data.objects.bulk_create(
        models.Data(
            task=task,
            kind="images" if number < size.image_tasks else "video",
            folder=f"folder-{task.pk}",
            size=FRAMES,
            size_bytes=1,
            stop_frame=FRAMES - 1,
            chunk_size=36,
            fingerprint="0",
        )
        for number, task in enumerate(tasks)
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
            for one in data[size.image_tasks :]
        ),
        batch_size=50,
    )
    for one in data[: size.image_tasks]:
        fill_images(one)
    segments = models.Segment.objects.bulk_create(
        models.Segment(task=task, start_frame=start, stop_frame=start + FRAMES // JOBS - 1)
        for task in tasks
        for start in range(0, FRAMES, FRAMES // JOBS)
    )
    assignee = users["assignee"]
    models.Job.objects.bulk_create(
        models.Job(segment=segment, assignee=assignee if number % (100 * JOBS) == 57 else None)
        for number, segment in enumerate(segments)
    )
    fill_shapes(tasks[-1])
    fill_tracks(tasks[-1])


def fill_images(data: Any) -> None:
    """Create an image for each frame."""
    from cvat_lambda.engine.standalone.models import Image

    image = Image.objects.create(
        data=data,
        number=0,
        name="0.jpg",
        path="original/0.jpg",
        original_path="original/0.jpg",
        mime="image/jpeg",
        width=1280,
        height=720,
        fingerprint="0" * 64,
    )
    multiply(image, FRAMES - 1, number="n.i + 1", name="CAST(n.i + 1 AS text) || '.jpg'")


def fill_shapes(task: Any) -> None:
    """Create some shapes on each frame of a task."""
    from cvat_lambda.engine.standalone.models import Label, LabeledShape

    label = Label.objects.filter(task=task)[0]
    shape = LabeledShape.objects.create(
        task=task,
        label=label,
        frame=0,
        type="rectangle",
        points=(10.0, 20.0, 110.0, 220.0),  # type: ignore[misc]  # the stubs say text
        source="auto",
    )
    multiply(shape, SHAPES * FRAMES - 1, frame=f"(n.i + 1) / {SHAPES}")


def fill_tracks(task: Any) -> None:
    """Create tracks on all frames but those of the first job, some ten on each frame."""
    from cvat_lambda.engine.standalone.models import Label, LabeledTrack, TrackedShape

    label = Label.objects.filter(task=task)[0]
    begin = FRAMES // JOBS
    span = FRAMES - begin - KEYFRAMES - 1
    track = LabeledTrack.objects.create(task=task, label=label, frame=begin, source="auto")
    key = TrackedShape.objects.create(
        track=track,
        frame=begin,
        type="rectangle",
        points=(10.0, 20.0, 110.0, 220.0),  # type: ignore[misc]  # the stubs say text
    )
    multiply(track, TRACKS - 1, frame=f"{begin} + (n.i + 1) * {span} / {TRACKS}")
    rows = KEYFRAMES + 1  # the last one ends the track
    multiply(
        key,
        rows * TRACKS - 1,
        track_id=f"{track.pk} + (n.i + 1) / {rows}",
        frame=f"{begin} + (n.i + 1) / {rows} * {span} / {TRACKS} + (n.i + 1) % {rows}",
        outside=f"(n.i + 1) % {rows} = {KEYFRAMES}",
    )


def fill_requests(size: Size, users: dict[str, Any], places: Places, **of_request: Any) -> None:
    """Create requests in all states; each fiftieth runs on two tasks, each tenth on one job.

    ``of_request``: further columns of all requests.
    """
    from cvat_lambda.requests.store.models import Outcome, Provenance, Request, Shard

    task, job, first = places.member_task, places.first_job, places.first_task
    counts = {"total": FRAMES, "done": FRAMES - FRAMES // 100, "failed": FRAMES // 100}
    request = Request.objects.create(
        id="req-template",
        owner=users["member"],
        task_id=task,
        function_id=BUSY,
        function_kind="detector",
        params={"mapping": {}, "threshold": 0.5},
        status="finished",
        shapes=SHAPES * FRAMES,
        **counts,
        **of_request,
    )
    Request.objects.filter(pk=request.pk).update(
        started_at=request.created_at, ended_at=request.created_at
    )
    request.refresh_from_db()
    shard = Shard.objects.create(
        request=request,
        index=0,
        task_id=task,
        frames=[[0, FRAMES - 1]],
        first_frame=0,
        last_frame=FRAMES - 1,
        status="finished",
        **counts,
    )
    last = size.requests - 1
    status = (
        "CASE WHEN n.i % 1000 = 7 THEN 'started' WHEN n.i % 200 = 9 THEN 'queued' "
        "WHEN n.i % 50 = 11 THEN 'failed' WHEN n.i % 100 = 13 THEN 'cancelled' ELSE 'finished' END"
    )
    place = f"n.i % {size.tasks}"
    job_id = f"CASE WHEN n.i % 10 = 3 THEN {job} + ({place}) * {JOBS} + n.i % {JOBS} END"
    multiply(
        request,
        last,
        id="'req-' || CAST(n.i AS text)",
        task_id=f"CASE WHEN n.i % 50 <> 1 THEN {first} + {place} END",
        job_id=job_id,
        owner_id=f"CASE WHEN n.i % 20 = 0 THEN {users['member'].pk} "
        f"WHEN n.i % 20 = 1 THEN {users['former'].pk} END",
        function_id=numbered_function(size.functions),
        created_at=earlier("created_at"),
        started_at=earlier("created_at"),
        ended_at=earlier("created_at"),
        status=status,
    )
    shards = {
        "request_id": "'req-' || CAST(n.i AS text)",
        "job_id": job_id,
        "status": status,
    }
    multiply(shard, last, task_id=f"{first} + {place}", **shards)
    second = f"{first} + (n.i + 1) % {size.tasks}"
    multiply(shard, last, where="n.i % 50 = 1", index="1", task_id=second, **shards)
    outcome = Outcome.objects.create(
        request=request, shard=shard, task_id=task, frame=0, status="done", shapes=SHAPES
    )
    is_failed = "n.i % 100 = 41"
    outcomes = {
        "status": f"CASE WHEN {is_failed} THEN 'failed' ELSE 'done' END",
        "code": f"CASE WHEN {is_failed} THEN 'timeout' ELSE '' END",
        "message": f"CASE WHEN {is_failed} "
        "THEN 'frame ' || CAST(n.i AS text) || ': no answer within 30 s' ELSE '' END",
        "duration_ms": "n.i % 400",
    }
    multiply(outcome, FRAMES - 1, **{**outcomes, "frame": "n.i + 1"})
    for number in range(size.with_outcomes - 1):
        of = Shard.objects.get(request_id=f"req-{number}", index=0)
        own = {"frame": "n.i", "request_id": f"'{of.request_id}'", "shard_id": str(of.pk)}
        multiply(outcome, FRAMES, **outcomes, **own, task_id=str(of.task_id))
    shape = places.first_shape
    provenance = Provenance.objects.create(
        request=request, task_id=task, frame=0, kind="shape", object_id=shape
    )
    objects = {"frame": f"(n.i + 1) / {SHAPES}", "object_id": f"{shape} + n.i + 1"}
    multiply(provenance, SHAPES * FRAMES - 1, **objects)


def numbered_function(count: int) -> str:
    """Return SQL for the id of the busy function, or of function n.i modulo their number."""
    from django.db import connection

    number = f"lpad(CAST(n.i % {count} AS text), 5, '0')"
    if connection.vendor == "sqlite":
        number = f"printf('%05d', n.i % {count})"
    return f"CASE WHEN n.i % 2 = 0 THEN '{BUSY}' ELSE 'function-' || {number} END"


def earlier(column: str) -> str:
    """Return SQL for a time that is n.i seconds before a column."""
    from django.db import connection

    if connection.vendor == "sqlite":
        return f"datetime({column}, '-' || (n.i + 1) || ' seconds')"
    return f"{column} - (n.i + 1) * interval '1 second'"


def multiply(template: Any, count: int, *, where: str = "true", **expressions: str) -> None:
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
        quoted = f"'{template.pk}'" if isinstance(template.pk, str) else str(template.pk)
        cursor.execute(
            f'INSERT INTO "{table}" ({names}) WITH RECURSIVE n(i) AS '
            f"(SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {count - 1}) "
            f'SELECT {", ".join(values)} FROM "{table}" t, n '
            f'WHERE t."{key}" = {quoted} AND {where}'
        )


def with_quick_writes(write: Callable[[], None]) -> None:
    """Write in one transaction; PostgreSQL does not check foreign keys meanwhile."""
    from django.db import connection, transaction

    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
                if cursor.fetchone()[0]:
                    cursor.execute("SET LOCAL session_replication_role = replica")
        write()


def analyze() -> None:
    """Let the database collect the statistics that its planner uses."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
