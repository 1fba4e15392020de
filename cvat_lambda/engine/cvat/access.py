"""Check with CVAT's policy server what a user may do with tasks, jobs and projects.

Unknown and forbidden objects give the same error. In CVAT the assignee of a job may not view its
task, so the task is unknown to them here as well.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import rest_framework.exceptions
from cvat.apps.engine import models
from cvat.apps.engine.permissions import JobPermission, ProjectPermission, TaskPermission
from cvat.apps.iam.permissions import get_iam_context
from cvat.apps.lambda_manager.rq import LambdaRQMeta
from cvat.apps.organizations.models import Membership, Organization

from cvat_lambda.engine.cvat import policy
from cvat_lambda.engine.cvat.prepared_query import PreparedQuery, model_from_row
from cvat_lambda.engine.port import Action
from cvat_lambda.errors import JobNotFound, NotFound, PermissionDenied, TaskNotFound

if TYPE_CHECKING:
    from rest_framework.request import Request as HttpRequest

# The action "view" reads frames. The action "edit" changes annotations.
_SCOPES = {"view": "view:data", "edit": "update:annotations"}
_PROJECT_SCOPES = {"view": "view", "edit": "import:dataset"}  # writes to all tasks of the project

# The columns that CVAT's rules need, and no others, because each call reads them.
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


_TASKS: Final = PreparedQuery(
    lambda pk: models.Task.objects.filter(pk__in=[pk]).values_list(*_columns_of_task())
)
_JOBS: Final = PreparedQuery(
    lambda pk: models.Job.objects.filter(pk__in=[pk]).values_list(
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
        """Raise TaskNotFound, or PermissionDenied if the user may only view the task."""
        missing = TaskNotFound(f"task #{task_id} was not found")
        row = next(iter(_tasks([task_id])), None)
        self._require(TaskPermission, row, action, _SCOPES, missing, f"task #{task_id}")

    def require_job(self, job_id: int, action: Action) -> None:
        """Raise JobNotFound, or PermissionDenied if the user may only view the job."""
        missing = JobNotFound(f"job #{job_id} was not found")
        row = next(iter(_jobs([job_id])), None)
        self._require(JobPermission, row, action, _SCOPES, missing, f"job #{job_id}")

    def require_project(self, project_id: int, action: Action) -> None:
        """Raise NotFound, or PermissionDenied if the user may only view it."""
        name = f"project #{project_id}"
        row = models.Project.objects.select_related("organization").filter(pk=project_id).first()
        missing = NotFound(f"{name} was not found")
        self._require(ProjectPermission, row, action, _PROJECT_SCOPES, missing, name)

    def visible_task_ids(self) -> Any:
        """Return a subquery for ``task_id__in``: the tasks that CVAT lists for the user."""
        permission = TaskPermission.create_scope_list(self._request)
        return policy.allowed_rows(permission, models.Task.objects.all()).values("pk")

    def visible_job_ids_without_task(self) -> Any:
        """Return a subquery for ``job_id__in``: the jobs that CVAT lists, but not their tasks."""
        permission = JobPermission.create_scope_list(self._request)
        jobs = policy.allowed_rows(permission, models.Job.objects.all())
        return jobs.exclude(segment__task_id__in=self.visible_task_ids()).values("pk")

    def viewable_task_ids(self, task_ids: Collection[int]) -> set[int]:
        """Return the ids that the user may view, in any organization."""
        return self._allowed(TaskPermission, _tasks(task_ids), _SCOPES["view"])

    def viewable_job_ids(self, job_ids: Collection[int]) -> set[int]:
        """Return the ids that the user may view, in any organization."""
        return self._allowed(JobPermission, _jobs(job_ids), _SCOPES["view"])

    def editable_task_ids(self, task_ids: Collection[int]) -> set[int]:
        """Return the ids that the user may edit."""
        return self._allowed(TaskPermission, _tasks(task_ids), _SCOPES["edit"])

    def editable_job_ids(self, job_ids: Collection[int]) -> set[int]:
        """Return the ids that the user may edit."""
        return self._allowed(JobPermission, _jobs(job_ids), _SCOPES["edit"])

    @property
    def sees_everything(self) -> bool:
        privilege = get_iam_context(self._request, None)["group_name"]
        return str(getattr(privilege, "name", privilege)) == "admin"

    @property
    def organization_id(self) -> int | None:
        """The organization that the HTTP request names."""
        organization_id = get_iam_context(self._request, None)["org_id"]
        return None if organization_id is None else int(organization_id)

    def is_member(self, organization_id: int) -> bool:
        """Return whether the user is an active member of an organization."""
        members = Membership.objects.filter(organization_id=organization_id, is_active=True)
        return bool(members.filter(user_id=self.user_id).exists())

    def job_meta(self, *, function_id: str, task_id: int, job_id: int | None) -> dict[str, Any]:
        """Return the metadata that CVAT's exception handler and its events read from an RQ job."""
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
            raise PermissionDenied(f"you may view {name}, but not change it")
        raise missing

    def _allowed(self, permission: Any, rows: Iterable[Any], scope: str) -> set[int]:
        """Return the ids of the rows that CVAT's rules allow.

        The rules read the owner, assignee, project and organization of an object, but not its id.
        A list of tasks or jobs has few combinations of these values. Each is asked about once.
        """
        contexts: dict[int | None, Any] = {}
        answers: dict[str, bool] = {}
        found: set[int] = set()
        for row in rows:
            organization_id = row.organization_id
            if organization_id not in contexts:
                contexts[organization_id] = self._context(row)
            if contexts[organization_id] is None:
                continue
            asked = permission(**contexts[organization_id], obj=row, scope=scope)
            resource = {**asked.payload["input"]["resource"], "id": None}
            seen = json.dumps([organization_id, resource], sort_keys=True)
            if seen not in answers:
                answers[seen] = policy.allows(asked)
            if answers[seen]:
                found.add(row.pk)
        return found

    def _context(self, row: Any) -> Any:
        """Return the user as the rules see them, or None for a user outside the organization."""
        try:
            return get_iam_context(self._request, row)
        except rest_framework.exceptions.PermissionDenied:
            return None

    def _allows(self, permission: Any, row: Any, scope: str) -> bool:
        context = get_iam_context(self._request, row)
        return policy.allows(permission(**context, obj=row, scope=scope))


def _tasks(task_ids: Collection[int]) -> list[Any]:
    """Return tasks with the columns that CVAT's permissions read."""
    return [_task_of(row) for row in _TASKS.rows(list(task_ids))]


def _jobs(job_ids: Collection[int]) -> list[Any]:
    """Return jobs with the columns that CVAT's permissions read."""
    return [_job_of(row) for row in _JOBS.rows(list(job_ids))]


def _job_of(values: Sequence[Any]) -> Any:
    of_segment = len(_JOB)
    of_task = of_segment + len(_SEGMENT)
    job = model_from_row(models.Job, _JOB, values[:of_segment])
    segment = model_from_row(models.Segment, _SEGMENT, values[of_segment:of_task])
    segment._state.fields_cache["task"] = _task_of(values[of_task:])
    job._state.fields_cache["segment"] = segment
    return job


def _task_of(values: Sequence[Any]) -> Any:
    of_project = len(_TASK)
    of_organization = of_project + len(_PROJECT)
    task = model_from_row(models.Task, _TASK, values[:of_project])
    above = (
        ("project", models.Project, _PROJECT, values[of_project:of_organization]),
        ("organization", Organization, _ORGANIZATION, values[of_organization:]),
    )
    for name, model, columns, found in above:
        task._state.fields_cache[name] = (
            None if found[0] is None else model_from_row(model, columns, found)
        )
    return task


def _as_json(value: Any) -> Any:
    """Return the value with times, keys and enumeration members as text."""
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)
