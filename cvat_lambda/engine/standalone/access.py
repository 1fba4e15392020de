"""Access rights of the standalone engine.

* Superusers may view and edit everything.
* The owner and the assignee of a project or a task may view and edit it.
* The assignee of a job may edit the job and view its task.

The lists show nothing else. `StandaloneAccess` raises PermissionDenied for a task, job or project
that exists and that the user may not view; the paths of the engine's own API answer 404.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.db.models import Q, QuerySet

from cvat_lambda.engine.port import Action
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.scope import parameter_batches
from cvat_lambda.errors import JobNotFound, PermissionDenied, ProjectNotFound, TaskNotFound
from cvat_lambda.prepared import PreparedQuery


def _is_admin(user: Any) -> bool:
    return bool(user.is_active and user.is_superuser)


def _id(user: Any) -> int:
    """Return the user's id. Anonymous: 0, because None would match rows without an owner."""
    return int(user.pk or 0)


def _mine(user_id: int, prefix: str = "") -> Q:
    """Return the condition "owner or assignee"; ``prefix`` is the lookup path to the table."""
    return Q(**{f"{prefix}owner_id": user_id}) | Q(**{f"{prefix}assignee_id": user_id})


def _task_editors(user_id: int, prefix: str = "") -> Q:
    return _mine(user_id, prefix) | _mine(user_id, f"{prefix}project__")


def visible_projects(user: Any) -> QuerySet[models.Project]:
    """Return the projects that the user owns, is assigned to, or has a task or job in."""
    if _is_admin(user):
        return models.Project.objects.all()
    tasks = visible_tasks(user).filter(project__isnull=False).values("project_id")
    return models.Project.objects.filter(_mine(_id(user)) | Q(pk__in=tasks))


def editable_projects(user: Any) -> QuerySet[models.Project]:
    """Return projects that the user may edit."""
    found = models.Project.objects.all()
    return found if _is_admin(user) else found.filter(_mine(_id(user)))


def visible_tasks(user: Any) -> QuerySet[models.Task]:
    """Return tasks that the user may view."""
    if _is_admin(user):
        return models.Task.objects.all()
    jobs = models.Job.objects.filter(assignee_id=_id(user)).values("segment__task_id")
    return models.Task.objects.filter(_task_editors(_id(user)) | Q(pk__in=jobs))


def find_task(user: Any, rows: PreparedQuery[models.Task], task_id: int) -> models.Task | None:
    """Return a task that the user may view.

    The rights are compared here: `visible_tasks` with all its subqueries costs several times more.
    """
    task = rows.first(task_id)
    return task if task is not None and _may_view(user, task) else None


def _may_view(user: Any, task: models.Task) -> bool:
    user_id, project = _id(user), None
    if _is_admin(user) or user_id in (task.owner_id, task.assignee_id):
        return True
    if task.project_id is not None:
        project = task.project
    if project is not None and user_id in (project.owner_id, project.assignee_id):
        return True
    return models.Job.objects.filter(assignee_id=user_id, segment__task_id=task.pk).exists()


def editable_tasks(user: Any) -> QuerySet[models.Task]:
    """Return tasks that the user may edit as a whole."""
    found = models.Task.objects.all()
    return found if _is_admin(user) else found.filter(_task_editors(_id(user)))


def owned_projects(user: Any) -> QuerySet[models.Project]:
    """Return projects that the user may delete."""
    found = models.Project.objects.all()
    return found if _is_admin(user) else found.filter(owner_id=_id(user))


def owned_tasks(user: Any) -> QuerySet[models.Task]:
    """Return tasks that the user may delete: the user owns the task or its project."""
    found = models.Task.objects.all()
    if _is_admin(user):
        return found
    return found.filter(Q(owner_id=_id(user)) | Q(project__owner_id=_id(user)))


def visible_jobs(user: Any) -> QuerySet[models.Job]:
    """Return jobs that the user may view: assigned jobs, and all jobs of own and assigned tasks."""
    found = models.Job.objects.all()
    if _is_admin(user):
        return found
    return found.filter(Q(assignee_id=_id(user)) | _task_editors(_id(user), "segment__task__"))


editable_jobs = visible_jobs  # a user who may view a job may annotate it


def _ids_in(rows: QuerySet[Any], ids: Collection[int]) -> set[int]:
    """Return the ids that occur in the rows."""
    return {
        found
        for some in parameter_batches(ids)
        for found in rows.filter(pk__in=some).values_list("pk", flat=True)
    }


class StandaloneAccess:
    """The port's `Access` for a user of Django's own tables."""

    def __init__(self, user: AbstractBaseUser | Any) -> None:
        self._user = user

    @property
    def user_id(self) -> int:
        return _id(self._user)

    def require_task(self, task_id: int, action: Action) -> None:
        """Raise TaskNotFound or PermissionDenied."""
        # The cheaper query comes first: users who may edit a task may view it. The assignees of
        # its jobs are queried for other users only.
        if self._may_edit_task(task_id):
            return
        if visible_tasks(self._user).filter(pk=task_id).exists():
            if action == "edit":
                raise PermissionDenied(f"you may view task #{task_id}, but not change it")
        elif models.Task.objects.filter(pk=task_id).exists():
            raise PermissionDenied(f"you may not view task #{task_id}")
        else:
            raise TaskNotFound(f"task #{task_id} was not found")

    def require_job(self, job_id: int, action: Action) -> None:
        """Raise JobNotFound or PermissionDenied."""
        if visible_jobs(self._user).filter(pk=job_id).exists():
            return
        if models.Job.objects.filter(pk=job_id).exists():
            raise PermissionDenied(f"you may not view job #{job_id}")
        raise JobNotFound(f"job #{job_id} was not found")

    def require_project(self, project_id: int, action: Action) -> None:
        """Raise ProjectNotFound or PermissionDenied."""
        if action == "edit" and editable_projects(self._user).filter(pk=project_id).exists():
            return
        if visible_projects(self._user).filter(pk=project_id).exists():
            if action == "edit":
                raise PermissionDenied(f"you may view project #{project_id}, but not change it")
        elif models.Project.objects.filter(pk=project_id).exists():
            raise PermissionDenied(f"you may not view project #{project_id}")
        else:
            raise ProjectNotFound(f"project #{project_id} was not found")

    def visible_task_ids(self) -> Any:
        """Return a subquery for ``task_id__in``."""
        return visible_tasks(self._user).values("pk")

    def visible_job_ids_without_task(self) -> Any:
        """Return no ids: a user who may view a job may view its task."""
        return frozenset()

    def viewable_task_ids(self, task_ids: Collection[int]) -> set[int]:
        """Return those that the user may view."""
        return _ids_in(visible_tasks(self._user), task_ids)

    def viewable_job_ids(self, job_ids: Collection[int]) -> set[int]:
        """Return those that the user may view."""
        return _ids_in(visible_jobs(self._user), job_ids)

    def editable_task_ids(self, task_ids: Collection[int]) -> set[int]:
        """Return those that the user may edit."""
        return _ids_in(editable_tasks(self._user), task_ids)

    def editable_job_ids(self, job_ids: Collection[int]) -> set[int]:
        """Return those that the user may edit."""
        return _ids_in(editable_jobs(self._user), job_ids)

    @property
    def sees_everything(self) -> bool:
        return _is_admin(self._user)

    @property
    def organization_id(self) -> int | None:
        """None: the standalone server has no organizations."""
        return None

    def is_member(self, organization_id: int) -> bool:
        """Return False: the standalone server has no organizations."""
        return False

    def _may_edit_task(self, task_id: int) -> bool:
        people = ("owner_id", "assignee_id", "project__owner_id", "project__assignee_id")
        task = models.Task.objects.filter(pk=task_id).values_list(*people).first()
        return task is not None and (_is_admin(self._user) or self.user_id in task)

    def job_meta(self, *, function_id: str, task_id: int, job_id: int | None) -> dict[str, Any]:
        """Return the meta of an RQ job, for administrators who inspect the queue."""
        return {"user_id": self.user_id, "function_id": function_id, "task_id": task_id}
