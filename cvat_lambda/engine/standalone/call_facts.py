"""The facts of a task or job that a call needs, with the right to view it, in one query."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial
from typing import Any, Final

from django.db.models import FilteredRelation, Q, QuerySet

from cvat_lambda.engine.port import Access, CallFacts, Job, KnownFrame
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.media.reader import IMAGE_FACTS, read_image
from cvat_lambda.errors import JobNotFound

_PEOPLE: Final = ("owner_id", "assignee_id", "project__owner_id", "project__assignee_id")
_TASK: Final = (*_PEOPLE, "updated_at")
_JOB: Final = (
    "pk",
    "type",
    "assignee_id",
    "segment__task_id",
    "segment__start_frame",
    "segment__stop_frame",
    "segment__frames",
)


def read_call_facts(
    access: Access, *, task_id: int | None, job_id: int | None, frames: Collection[int]
) -> CallFacts:
    """Read the facts of a job, or of a task if ``job_id`` is None.

    A task's ``updated_at`` changes with its labels. Raise TaskNotFound, JobNotFound.
    """
    if job_id is not None:
        return _read_job(access, job_id, frames)
    assert task_id is not None
    rows = _with_frames(models.Task.objects.filter(pk=task_id), "", frames)
    found = list(rows.values_list(*_TASK, *_frame_columns("")))
    if not found or not _may_view(access, found[0][:4]):
        access.require_task(task_id, "view")  # who has a job of the task may view it as well
    version = found[0][4] if found else None
    return CallFacts(
        task_id=task_id,
        frames=_frames(row[5:] for row in found),
        labels_version=None if version is None else version.isoformat(),
    )


def _read_job(access: Access, job_id: int, frames: Collection[int]) -> CallFacts:
    task = "segment__task__"
    rows = _with_frames(models.Job.objects.filter(pk=job_id), task, frames)
    found = list(rows.values_list(*_JOB, *(task + name for name in _TASK), *_frame_columns(task)))
    if not found:
        raise JobNotFound(f"job #{job_id} was not found")
    _, kind, assignee_id, task_id, start, stop, chosen = found[0][:7]
    people, version = found[0][7:11], found[0][11]
    if not _may_view(access, (assignee_id, *people)):
        raise JobNotFound(f"job #{job_id} was not found")
    numbers = range(start, stop + 1) if chosen is None else tuple(chosen)
    return CallFacts(
        task_id=task_id,
        job=Job(id=job_id, task_id=task_id, type=kind, frames=numbers),
        frames=_frames(row[12:] for row in found),
        labels_version=version.isoformat(),
    )


def _with_frames(rows: QuerySet[Any], task: str, frames: Collection[int]) -> QuerySet[Any]:
    """Join the images of these frames. A task without them, as of a video, has one row."""
    images = f"{task}data__images"
    wanted = FilteredRelation(images, condition=Q(**{f"{images}__number__in": tuple(frames)}))
    joined: QuerySet[Any] = rows.order_by().annotate(frame=wanted)
    return joined


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
