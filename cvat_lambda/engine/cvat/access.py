"""What a person may do, asked of CVAT's own policy engine.

Unknown and forbidden look alike. CVAT's rules decide: who may be given a job of a task without
seeing the task itself, as a worker in the sandbox, does not see the task here either.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from cvat.apps.engine import models
from cvat.apps.engine.permissions import JobPermission, ProjectPermission, TaskPermission
from cvat.apps.iam.permissions import get_iam_context
from cvat.apps.lambda_manager.rq import LambdaRQMeta
from cvat.apps.organizations.models import Organization

from cvat_lambda.engine.cvat import policy
from cvat_lambda.engine.cvat.prepared import Prepared, built
from cvat_lambda.engine.port import Action
from cvat_lambda.errors import JobNotFound, NotFound, PermissionDenied, TaskNotFound

if TYPE_CHECKING:
    from rest_framework.request import Request as HttpRequest

# Frames are what is looked at, annotations what is changed.
_SCOPES = {"view": "view:data", "edit": "update:annotations"}
_PROJECT_SCOPES = {"view": "view", "edit": "import:dataset"}  # which writes to all of its tasks

# What CVAT's rules are told, and no more: these are asked for before each call.
_JOB: Final = ("id", "assignee", "segment")
_SEGMENT: Final = ("id", "task")
_TASK: Final = ("id", "owner", "assignee", "project", "organization")
_PROJECT: Final = ("id", "owner", "assignee", "organization")
_ORGANIZATION: Final = ("id", "slug", "owner")


def _columns_of_task(prefix: str = "") -> list[str]:
    return [
        *(f"{prefix}{name}" for name in _TASK),
        *(f"{prefix}project__{name}" for name in _PROJECT),
        *(f"{prefix}organization__{name}" for name in _ORGANIZATION),
    ]


_TASKS: Final = Prepared(
    lambda pk: models.Task.objects.filter(pk=pk).values_list(*_columns_of_task())
)
_JOBS: Final = Prepared(
    lambda pk: models.Job.objects.filter(pk=pk).values_list(
        *_JOB,
        *(f"segment__{name}" for name in _SEGMENT),
        *_columns_of_task("segment__task__"),
    )
)


class CvatAccess:
    """The port's `Access` for the user behind an HTTP request to CVAT."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @property
    def user_id(self) -> int:
        return int(self._request.user.pk or 0)

    def require_task(self, task_id: int, action: Action) -> None:
        """Raise TaskNotFound, or PermissionDenied if the task may only be seen."""
        missing = TaskNotFound(f"task #{task_id} was not found")
        row = _task(task_id)
        self._require(TaskPermission, row, action, _SCOPES, missing, f"task #{task_id}")

    def require_job(self, job_id: int, action: Action) -> None:
        """Raise JobNotFound, or PermissionDenied if the job may only be seen."""
        row = _job(job_id)
        missing = JobNotFound(f"job #{job_id} was not found")
        self._require(JobPermission, row, action, _SCOPES, missing, f"job #{job_id}")

    def require_project(self, project_id: int, action: Action) -> None:
        """Raise NotFound, or PermissionDenied if the project may only be seen."""
        name = f"project #{project_id}"
        row = models.Project.objects.select_related("organization").filter(pk=project_id).first()
        missing = NotFound(f"{name} was not found")
        self._require(ProjectPermission, row, action, _PROJECT_SCOPES, missing, name)

    def visible_task_ids(self) -> Any:
        """A subquery for ``task_id__in``: the tasks that CVAT would list."""
        permission = TaskPermission.create_scope_list(self._request)
        return permission.filter(models.Task.objects.all()).values("pk")

    def may_edit_task(self, task_id: int) -> bool:
        task = _task(task_id)
        return task is not None and self._allows(TaskPermission, task, _SCOPES["edit"])

    def job_meta(self, *, function_id: str, task_id: int, job_id: int | None) -> dict[str, Any]:
        """What CVAT's handlers of failed jobs and events read from an RQ job."""
        target = (
            models.Task.objects.get(pk=task_id)
            if job_id is None
            else models.Job.objects.select_related("segment__task").get(pk=job_id)
        )
        meta = LambdaRQMeta.build_for(request=self._request, db_obj=target, function_id=function_id)
        return {str(key): _as_json(value) for key, value in meta.items()}

    def _require(
        self,
        permission: Any,
        row: Any,
        action: Action,
        scopes: dict[str, str],
        missing: NotFound,
        name: str,
    ) -> None:
        if row is None:
            raise missing
        if self._allows(permission, row, scopes[action]):
            return
        if action == "edit" and self._allows(permission, row, scopes["view"]):
            raise PermissionDenied(f"you may see {name}, but not change it")
        raise missing

    def _allows(self, permission: Any, row: Any, scope: str) -> bool:
        context = get_iam_context(self._request, row)
        return policy.allows(permission(**context, obj=row, scope=scope))


def _task(task_id: int) -> Any:
    """A task as CVAT's permissions read it."""
    row = _TASKS.first(task_id)
    return None if row is None else _task_of(row)


def _job(job_id: int) -> Any:
    """A job as CVAT's permissions read it."""
    row = _JOBS.first(job_id)
    if row is None:
        return None
    of_segment = len(_JOB)
    of_task = of_segment + len(_SEGMENT)
    job = built(models.Job, _JOB, row[:of_segment])
    segment = built(models.Segment, _SEGMENT, row[of_segment:of_task])
    segment._state.fields_cache["task"] = _task_of(row[of_task:])
    job._state.fields_cache["segment"] = segment
    return job


def _task_of(values: Sequence[Any]) -> Any:
    of_project = len(_TASK)
    of_organization = of_project + len(_PROJECT)
    task = built(models.Task, _TASK, values[:of_project])
    above = (
        ("project", models.Project, _PROJECT, values[of_project:of_organization]),
        ("organization", Organization, _ORGANIZATION, values[of_organization:]),
    )
    for name, model, columns, found in above:
        task._state.fields_cache[name] = None if found[0] is None else built(model, columns, found)
    return task


def _as_json(value: Any) -> Any:
    """The same with times as text, and keys and words as plain text."""
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)
