"""The facts of a task or job that a call needs, with the right to view it, in one query."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from functools import lru_cache, partial
from typing import Any, Final

from django.db import connections
from django.db.models import FilteredRelation, Q

from cvat_lambda.engine.port import Access, CallFacts, Job, KnownFrame
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.media.reader import IMAGE_FACTS, read_image
from cvat_lambda.errors import JobNotFound

_PEOPLE: Final = ("owner_id", "assignee_id", "project__owner_id", "project__assignee_id")
_TASK: Final = (*_PEOPLE, "updated_at")
_TASK_OF_JOB: Final = "segment__task__"
_JOB: Final = (
    "type",
    "assignee_id",
    "segment__task_id",
    "segment__start_frame",
    "segment__stop_frame",
    "segment__frames",
)
# Placeholders of parameters: the id of the row, and the numbers of the frames.
_ROW_ID: Final = 2_000_000_000
_NUMBER: Final = 2_000_000_001
_NO_FRAME: Final = 2_147_483_647


def read_call_facts(
    access: Access, *, task_id: int | None, job_id: int | None, frames: Collection[int]
) -> CallFacts:
    """Read the facts of a job, or of a task if ``job_id`` is None.

    A task's ``updated_at`` changes with its labels. Raise TaskNotFound, JobNotFound.
    """
    if job_id is not None:
        return _read_job(access, job_id, frames)
    assert task_id is not None
    found = _rows("", task_id, frames)
    if not found or not _may_view(access, found[0][:4]):
        access.require_task(task_id, "view")  # the assignee of a job may view its task
    return CallFacts(
        task_id=task_id,
        frames=_frames(row[5:] for row in found),
        labels_version=str(found[0][4]) if found else None,
    )


def _read_job(access: Access, job_id: int, frames: Collection[int]) -> CallFacts:
    found = _rows(_TASK_OF_JOB, job_id, frames)
    if not found:
        raise JobNotFound(f"job #{job_id} was not found")
    people, version = found[0][:4], found[0][4]
    kind, assignee_id, task_id, start, stop, chosen = found[0][5:11]
    if not _may_view(access, (assignee_id, *people)):
        raise JobNotFound(f"job #{job_id} was not found")
    if isinstance(chosen, str):  # JSON text as stored in the database
        chosen = json.loads(chosen)
    numbers = range(start, stop + 1) if chosen is None else tuple(chosen)
    return CallFacts(
        task_id=task_id,
        job=Job(id=job_id, task_id=task_id, type=kind, frames=numbers),
        frames=_frames(row[11:] for row in found),
        labels_version=str(version),
    )


def _rows(task: str, row_id: int, frames: Collection[int]) -> list[tuple[Any, ...]]:
    """Run the query of a task or a job; ``task`` is the path from the row to the task."""
    numbers = tuple(frames) or (_NO_FRAME,)
    alias = models.Task.objects.db
    sql, parameters = _compile(task, len(numbers), alias)
    values = {_ROW_ID: row_id, **{_NUMBER + i: number for i, number in enumerate(numbers)}}
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, [values[parameter] for parameter in parameters])
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


@lru_cache(maxsize=16)
def _compile(task: str, frames: int, alias: str) -> tuple[str, tuple[int, ...]]:
    """Return the SQL, and placeholders instead of its parameters.

    Django takes 1 ms to build and compile this query, and the database 0.03 ms to run it.
    """
    row = models.Job.objects if task else models.Task.objects
    images = f"{task}data__images"
    numbers = tuple(range(_NUMBER, _NUMBER + frames))
    # A task without these frames, or with a video, has one row with nulls.
    wanted = FilteredRelation(images, condition=Q(**{f"{images}__number__in": numbers}))
    columns = (*(task + name for name in _TASK), *(_JOB if task else ()), *_frame_columns(task))
    query = row.filter(pk=_ROW_ID).order_by().annotate(frame=wanted).values_list(*columns).query
    sql, parameters = query.get_compiler(alias).as_sql()
    return sql, tuple(parameters)


def _frame_columns(task: str) -> tuple[str, ...]:
    """Return the columns that `_frames` reads. The last of `IMAGE_FACTS` is one of the data."""
    *columns, folder = IMAGE_FACTS
    image = ("number", "fingerprint", *columns)
    return (*(f"frame__{name}" for name in image), f"{task}{folder}")


def _may_view(access: Access, people: Iterable[int | None]) -> bool:
    return access.sees_everything or access.user_id in people


def _frames(rows: Iterable[tuple[Any, ...]]) -> dict[int, KnownFrame]:
    """Return the images by their numbers. A row without an image has nulls."""
    return {
        number: KnownFrame(
            key=key, read=partial(read_image, dict(zip(IMAGE_FACTS, facts, strict=True)))
        )
        for number, key, *facts in rows
        if number is not None
    }
