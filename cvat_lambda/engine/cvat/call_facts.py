"""The facts of a task or job that a call needs: one query for them, one for the frames."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any, Final

from cvat.apps.engine import models

from cvat_lambda.engine.cvat.access import TASK_COLUMNS, CvatAccess
from cvat_lambda.engine.cvat.frames import known_frames
from cvat_lambda.engine.cvat.media import TaskMedia
from cvat_lambda.engine.cvat.tasks import DATA_COLUMNS, job_of
from cvat_lambda.engine.port import Access, CallFacts, Job
from cvat_lambda.prepared import PreparedQuery

# CVAT's API changes the time of a task or a project with its labels. CVAT's admin site changes
# labels alone: they are read again after this time.
_LABELS_KEPT_S: Final = 60
_COLUMNS: Final = (
    *TASK_COLUMNS,
    *("updated_date", "project__updated_date", "data"),
    *(f"data__{name}" for name in DATA_COLUMNS),
)
_RELATED: Final = ("project", "organization", "data__validation_layout")
_SEGMENT_COLUMNS: Final = ("task", "type", "start_frame", "stop_frame", "frames")

_TASK: Final[PreparedQuery[Any]] = PreparedQuery(
    lambda pk: (
        models.Task.objects.filter(pk=pk).select_related(*_RELATED).only(*_COLUMNS).order_by()
    ),
    int,
)
_JOB: Final[PreparedQuery[Any]] = PreparedQuery(
    lambda pk: (
        models.Job.objects.filter(pk=pk)
        .select_related(*(f"segment__task__{name}" for name in _RELATED))
        .only(
            *("type", "assignee", "segment"),
            *(f"segment__{name}" for name in _SEGMENT_COLUMNS),
            *(f"segment__task__{name}" for name in _COLUMNS),
        )
        .order_by()
    ),
    int,
)


def read_call_facts(
    access: Access, *, task_id: int | None, job_id: int | None, frames: Collection[int]
) -> CallFacts:
    """Check that the user may view a job, or a task if ``job_id`` is None, and read the facts.

    Raise TaskNotFound, JobNotFound, PermissionDenied, PolicyUnavailable.
    """
    assert isinstance(access, CvatAccess)
    if job_id is not None:
        row = _JOB.first(job_id)
        access.require_job_of_call(job_id, row)
        assert row is not None
        return _facts(row.segment.task, job_of(row), frames)
    assert task_id is not None
    task = _TASK.first(task_id)
    access.require_task_of_call(task_id, task)
    return _facts(task, None, frames)


def _facts(task: Any, job: Job | None, frames: Collection[int]) -> CallFacts:
    media = None if task.data is None else TaskMedia(task_id=task.pk, data=task.data)
    return CallFacts(
        task_id=task.pk,
        job=job,
        frames={} if media is None else known_frames(media, frames),
        labels_version=_labels_version(task),
        project_id=task.project_id,
    )


def _labels_version(task: Any) -> str:
    project_at = None if task.project_id is None else task.project.updated_date
    period = int(time.time() // _LABELS_KEPT_S)
    return f"{task.updated_date} {task.project_id} {project_at} {period}"
