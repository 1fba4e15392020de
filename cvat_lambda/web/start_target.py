"""What the start form runs a function on: a task, some of its jobs, or several tasks.

Whoever may annotate single jobs of a task, and not the task, gets these jobs only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from django.http import QueryDict

from cvat_lambda.annotations.types import Label
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Access, Job, Task
from cvat_lambda.errors import InvalidRequest, JobNotFound, LambdaError, TaskNotFound

MAX_TASKS: Final = 1000  # as many as the API takes


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTarget:
    """The tasks of one form. Several tasks are run as a whole."""

    tasks: tuple[Task, ...]
    jobs: tuple[Job, ...] = ()  # of one task: those that the user may annotate
    chosen_job_id: int | None = None
    jobs_only: bool = False  # the user may not annotate the whole task
    may_edit_project: bool = False

    @property
    def task(self) -> Task:
        """The task of previews. Of several tasks it has the labels that all of them have."""
        return replace(self.tasks[0], labels=common_labels(self.tasks))

    @property
    def frames(self) -> int:
        """The number of frames of all tasks, or of the jobs that the user may annotate."""
        if self.jobs_only:
            return len({frame for job in self.jobs for frame in job.frames})
        return sum(task.size for task in self.tasks)


def start_target(access: Access, query: QueryDict) -> StartTarget | None:
    """Return what ``?task=``, ``?tasks=`` (repeated) or ``?job=`` names; None if nothing.

    Raise TaskNotFound, JobNotFound, PermissionDenied, InvalidRequest.
    """
    job, task = (query.get(name, "").strip() for name in ("job", "task"))
    if job:
        return _job_target(access, _number(job, "job"))
    if task:
        return _task_target(access, _number(task, "task"), None)
    if query.getlist("tasks"):
        return _tasks_target(access, [_number(text, "task") for text in query.getlist("tasks")])
    return None


def common_labels(tasks: Sequence[Task]) -> tuple[Label, ...]:
    """Return the labels of the first task that the others have by name and type."""
    shared = set.intersection(*({(one.name, one.type) for one in task.labels} for task in tasks))
    return tuple(label for label in tasks[0].labels if (label.name, label.type) in shared)


def _number(text: str, noun: str) -> int:
    digits = text.removeprefix("#")
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 18:
        error = JobNotFound if noun == "job" else TaskNotFound
        raise error(f"'{text[:40]}' is not the number of a {noun}")
    return int(digits)


def _job_target(access: Access, job_id: int) -> StartTarget:
    job = get_engine().jobs([job_id]).get(job_id)
    access.require_job(job_id, "edit")
    if job is None:
        raise JobNotFound(f"job #{job_id} was not found")
    return _task_target(access, job.task_id, job_id)


def _task_target(access: Access, task_id: int, chosen_job_id: int | None) -> StartTarget:
    found = get_engine().task(task_id)
    jobs = tuple(job for job in found.jobs if len(job.frames))
    jobs_only = not access.editable_task_ids([task_id])
    if jobs_only:
        editable = access.editable_job_ids([job.id for job in jobs])
        jobs = tuple(job for job in jobs if job.id in editable)
        if not jobs:
            access.require_task(task_id, "edit")  # raises the error that says why
    return StartTarget(
        tasks=(found,),
        jobs=jobs,
        chosen_job_id=chosen_job_id,
        jobs_only=jobs_only,
        may_edit_project=not jobs_only and _may_edit_project(access, found.project_id),
    )


def _tasks_target(access: Access, task_ids: Sequence[int]) -> StartTarget:
    ids = list(dict.fromkeys(task_ids))
    if len(ids) == 1:
        return _task_target(access, ids[0], None)
    if len(ids) > MAX_TASKS:
        raise InvalidRequest(f"choose at most {MAX_TASKS} tasks")
    editable = access.editable_task_ids(ids)
    for task_id in ids:
        if task_id not in editable:
            access.require_task(task_id, "edit")  # raises the error that says why
    found = get_engine().tasks(ids)
    return StartTarget(tasks=tuple(found[task_id] for task_id in ids if task_id in found))


def _may_edit_project(access: Access, project_id: int | None) -> bool:
    if project_id is None:
        return False
    try:
        access.require_project(project_id, "edit")
    except LambdaError:
        return False
    return True
