"""Check with CVAT's policy server what a user may do with tasks, jobs and projects.

As in CVAT the assignee of a job may not view its task.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import rest_framework.exceptions
from cvat.apps.engine import models
from cvat.apps.engine.permissions import JobPermission, ProjectPermission, TaskPermission
from cvat.apps.iam.permissions import get_iam_context
from cvat.apps.lambda_manager.rq import LambdaRQMeta
from cvat.apps.organizations.models import Membership

from cvat_lambda.engine.cvat import policy
from cvat_lambda.engine.port import Action
from cvat_lambda.errors import (
    JobNotFound,
    PermissionDenied,
    ProjectNotFound,
    TargetNotFound,
    TaskNotFound,
)
from cvat_lambda.prepared import PreparedQuery

if TYPE_CHECKING:
    from rest_framework.request import Request as HttpRequest

Ask: TypeAlias = Callable[[Any], bool]  # of `policy`: whether a permission is granted

# The action "view" reads frames. The action "edit" changes annotations.
_SCOPES = {"view": "view:data", "edit": "update:annotations"}
_PROJECT_SCOPES = {"view": "view", "edit": "import:dataset"}  # writes to all tasks of the project

# The columns that CVAT's rules need, and no others, because each call reads them.
TASK_COLUMNS: Final = (
    *("owner", "assignee", "project", "organization"),
    *("project__owner", "project__assignee", "project__organization"),
    *("organization__slug", "organization__owner"),
)
_TASKS: Final[PreparedQuery[Any]] = PreparedQuery(
    lambda ids: (
        models.Task.objects.filter(pk__in=ids)
        .select_related("project", "organization")
        .only(*TASK_COLUMNS)
        .order_by()
    ),
    list,
)
_JOBS: Final[PreparedQuery[Any]] = PreparedQuery(
    lambda ids: (
        models.Job.objects.filter(pk__in=ids)
        .select_related("segment__task__project", "segment__task__organization")
        .only("assignee", "segment__task", *(f"segment__task__{name}" for name in TASK_COLUMNS))
        .order_by()
    ),
    list,
)


class CvatAccess:
    """The port's `Access` for the user behind an HTTP request to CVAT."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @property
    def user_id(self) -> int:
        return int(self._request.user.pk or 0)

    def require_task(self, task_id: int, action: Action) -> None:
        """Raise TaskNotFound or PermissionDenied."""
        self._require_task(task_id, _TASKS.first([task_id]), action, policy.allows)

    def require_task_of_call(self, task_id: int, row: Any) -> None:
        """Require the view of a task, whose row was read with `TASK_COLUMNS`; None: no such row.

        Raise TaskNotFound or PermissionDenied.
        """
        self._require_task(task_id, row, "view", policy.allows_call)

    def require_job(self, job_id: int, action: Action) -> None:
        """Raise JobNotFound or PermissionDenied."""
        self._require_job(job_id, _JOBS.first([job_id]), action, policy.allows)

    def require_job_of_call(self, job_id: int, row: Any) -> None:
        """Require the view of a job, as `require_task_of_call` does."""
        self._require_job(job_id, row, "view", policy.allows_call)

    def require_project(self, project_id: int, action: Action) -> None:
        """Raise ProjectNotFound or PermissionDenied."""
        name = f"project #{project_id}"
        row = models.Project.objects.select_related("organization").filter(pk=project_id).first()
        missing = ProjectNotFound(f"{name} was not found")
        self._require(ProjectPermission, row, action, _PROJECT_SCOPES, missing, name, policy.allows)

    def visible_task_ids(self) -> Any:
        """Return a subquery for ``task_id__in``: the tasks that CVAT lists for the user."""
        return self._visible_tasks.values("pk")

    @cached_property
    def _visible_tasks(self) -> Any:
        permission = TaskPermission.create_scope_list(self._request)
        return policy.allowed_rows(permission, models.Task.objects.all())

    def visible_job_ids_without_task(self) -> Any:
        """Return a subquery for ``job_id__in``: the jobs that CVAT lists, but not their tasks."""
        permission = JobPermission.create_scope_list(self._request)
        jobs = policy.allowed_rows(permission, models.Job.objects.all())
        return jobs.exclude(segment__task_id__in=self.visible_task_ids()).values("pk")

    def viewable_task_ids(self, task_ids: Collection[int]) -> set[int]:
        """Return the ids that the user may view, in any organization."""
        return self._allowed(TaskPermission, _TASKS.rows(list(task_ids)), _SCOPES["view"])

    def viewable_job_ids(self, job_ids: Collection[int]) -> set[int]:
        """Return the ids that the user may view, in any organization."""
        return self._allowed(JobPermission, _JOBS.rows(list(job_ids)), _SCOPES["view"])

    def editable_task_ids(self, task_ids: Collection[int]) -> set[int]:
        """Return the ids that the user may edit."""
        return self._allowed(TaskPermission, _TASKS.rows(list(task_ids)), _SCOPES["edit"])

    def editable_job_ids(self, job_ids: Collection[int]) -> set[int]:
        """Return the ids that the user may edit."""
        return self._allowed(JobPermission, _JOBS.rows(list(job_ids)), _SCOPES["edit"])

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

    def _require_task(self, task_id: int, row: Any, action: Action, ask: Ask) -> None:
        name = f"task #{task_id}"
        missing = TaskNotFound(f"{name} was not found")
        self._require(TaskPermission, row, action, _SCOPES, missing, name, ask)

    def _require_job(self, job_id: int, row: Any, action: Action, ask: Ask) -> None:
        name = f"job #{job_id}"
        missing = JobNotFound(f"{name} was not found")
        self._require(JobPermission, row, action, _SCOPES, missing, name, ask)

    def _require(
        self,
        permission: Any,
        row: Any,
        action: Action,
        scopes: dict[str, str],
        missing: TargetNotFound,
        name: str,
        ask: Ask,
    ) -> None:
        if row is None:
            raise missing
        if self._allows(permission, row, scopes[action], ask):
            return
        if action == "edit" and self._allows(permission, row, scopes["view"], ask):
            raise PermissionDenied(f"you may view {name}, but not change it")
        raise PermissionDenied(f"you may not view {name}")

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

    def _allows(self, permission: Any, row: Any, scope: str, ask: Ask) -> bool:
        context = get_iam_context(self._request, row)
        return ask(permission(**context, obj=row, scope=scope))


def _as_json(value: Any) -> Any:
    """Return the value with times, keys and enumeration members as text."""
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)
