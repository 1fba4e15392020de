"""The facts of a task or job that a call needs, with the right to view it, in one query."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial
from typing import Any, Final

from django.db.models import FilteredRelation, Q, QuerySet

from cvat_lambda.engine.port import Access, CallFacts, Job, KnownFrame
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.media.reader import IMAGE_FACTS, read_image
from cvat_lambda.errors import JobNotFound, PermissionDenied
from cvat_lambda.prepared import PreparedQuery

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


def _rows(task: str, row_id: int, numbers: list[int]) -> QuerySet[Any, Any]:
    """Return the query of a task or a job; ``task`` is the path from the row to the task.

    It has a row for each of the frames. A task without these frames, or with a video, has one row
    with nulls.
    """
    row: Any = models.Job.objects if task else models.Task.objects
    images = f"{task}data__images"
    wanted = FilteredRelation(images, condition=Q(**{f"{images}__number__in": numbers}))
    columns = (*(task + name for name in _TASK), *(_JOB if task else ()), *_frame_columns(task))
    rows: QuerySet[Any, Any] = row.filter(pk=row_id).order_by().annotate(frame=wanted)
    return rows.values_list(*columns)


def _frame_columns(task: str) -> tuple[str, ...]:
    """Return the columns that `_frames` reads. The last of `IMAGE_FACTS` is one of the data."""
    *columns, folder = IMAGE_FACTS
    image = ("number", "fingerprint", *columns)
    return (*(f"frame__{name}" for name in image), f"{task}{folder}")


_OF_TASK: Final[PreparedQuery[tuple[Any, ...]]] = PreparedQuery(partial(_rows, ""), int, list)
_OF_JOB: Final[PreparedQuery[tuple[Any, ...]]] = PreparedQuery(
    partial(_rows, _TASK_OF_JOB), int, list
)


def read_call_facts(
    access: Access, *, task_id: int | None, job_id: int | None, frames: Collection[int]
) -> CallFacts:
    """Read the facts of a job, or of a task if ``job_id`` is None.

    A task's ``updated_at`` changes with its labels. Raise TaskNotFound, JobNotFound,
    PermissionDenied.
    """
    if job_id is not None:
        return _read_job(access, job_id, frames)
    assert task_id is not None
    found = _OF_TASK.rows(task_id, list(frames))
    if not found or not _may_view(access, found[0][:4]):
        access.require_task(task_id, "view")  # the assignee of a job may view its task
    return CallFacts(
        task_id=task_id,
        frames=_frames(row[5:] for row in found),
        labels_version=str(found[0][4]) if found else None,
    )


def _read_job(access: Access, job_id: int, frames: Collection[int]) -> CallFacts:
    found = _OF_JOB.rows(job_id, list(frames))
    if not found:
        raise JobNotFound(f"job #{job_id} was not found")
    people, version = found[0][:4], found[0][4]
    kind, assignee_id, task_id, start, stop, chosen = found[0][5:11]
    if not _may_view(access, (assignee_id, *people)):
        raise PermissionDenied(f"you may not view job #{job_id}")
    numbers = range(start, stop + 1) if chosen is None else tuple(chosen)
    return CallFacts(
        task_id=task_id,
        job=Job(id=job_id, task_id=task_id, type=kind, frames=numbers),
        frames=_frames(row[11:] for row in found),
        labels_version=str(version),
    )


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
