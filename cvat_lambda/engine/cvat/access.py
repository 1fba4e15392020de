"""What a person may do, asked of CVAT's own policy engine.

Unknown and forbidden look alike. CVAT's rules decide: who may be given a job of a task without
seeing the task itself, as a worker in the sandbox, does not see the task here either.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import rest_framework.exceptions
from cvat.apps.engine import models
from cvat.apps.engine.permissions import JobPermission, ProjectPermission, TaskPermission
from cvat.apps.iam.permissions import get_iam_context
from cvat.apps.lambda_manager.rq import LambdaRQMeta

from cvat_lambda.engine.port import Action
from cvat_lambda.errors import JobNotFound, NotFound, PermissionDenied, TaskNotFound

if TYPE_CHECKING:
    from rest_framework.request import Request as HttpRequest

# Frames are what is looked at, annotations what is changed.
_SCOPES = {"view": "view:data", "edit": "update:annotations"}
_PROJECT_SCOPES = {"view": "view", "edit": "import:dataset"}  # which writes to all of its tasks


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
        row = _tasks([task_id]).first()
        self._require(TaskPermission, row, action, _SCOPES, missing, f"task #{task_id}")

    def require_job(self, job_id: int, action: Action) -> None:
        """Raise JobNotFound, or PermissionDenied if the job may only be seen."""
        missing = JobNotFound(f"job #{job_id} was not found")
        row = _jobs([job_id]).first()
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

    def editable_task_ids(self, task_ids: Collection[int]) -> set[int]:
        """Those that the user may edit."""
        return self._allowed(TaskPermission, _tasks(task_ids), _SCOPES["edit"])

    def editable_job_ids(self, job_ids: Collection[int]) -> set[int]:
        """Those that the user may edit."""
        return self._allowed(JobPermission, _jobs(job_ids), _SCOPES["edit"])

    @property
    def sees_everything(self) -> bool:
        privilege = get_iam_context(self._request, None)["group_name"]
        return str(getattr(privilege, "name", privilege)) == "admin"

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

    def _allowed(self, permission: Any, rows: Iterable[Any], scope: str) -> set[int]:
        """Ids of the rows that CVAT allows: one question for all that look alike to its rules.

        The rules see owner, assignee, project and organization of an object, and who asks; not
        which object it is. A list of tasks or jobs holds few of these combinations.
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
            facts = {**asked.payload["input"]["resource"], "id": None}
            seen = json.dumps([organization_id, facts], sort_keys=True)
            if seen not in answers:
                answers[seen] = bool(asked.check_access().allow)
            if answers[seen]:
                found.add(row.pk)
        return found

    def _context(self, row: Any) -> Any:
        """Who asks, as the rules see it; None for who is not a member of the organization."""
        try:
            return get_iam_context(self._request, row)
        except rest_framework.exceptions.PermissionDenied:
            return None

    def _allows(self, permission: Any, row: Any, scope: str) -> bool:
        context = get_iam_context(self._request, row)
        return bool(permission(**context, obj=row, scope=scope).check_access().allow)


def _tasks(task_ids: Collection[int]) -> Any:
    """Tasks as CVAT's permissions read them, in few columns: Django's time goes into these."""
    columns = ("owner_id", "assignee_id")
    rows = models.Task.objects.select_related("project", "organization").only(
        *columns,
        "organization__slug",
        "organization__owner_id",
        *(f"project__{column}" for column in (*columns, "organization_id")),
    )
    return rows.filter(pk__in=list(task_ids))


def _jobs(job_ids: Collection[int]) -> Any:
    """Jobs with all that CVAT's permissions read of them."""
    rows = models.Job.objects.select_related(
        "segment__task__project", "segment__task__organization"
    )
    return rows.filter(pk__in=list(job_ids))


def _as_json(value: Any) -> Any:
    """The same with times as text, and keys and words as plain text."""
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)
