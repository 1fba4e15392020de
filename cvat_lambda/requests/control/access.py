"""Which requests a user may view or edit."""

from __future__ import annotations

from collections.abc import Callable, Collection

from django.db.models import Exists, OuterRef, Q, QuerySet

from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Access, Action
from cvat_lambda.errors import PermissionDenied, RequestNotFound
from cvat_lambda.requests.store.models import Request, Shard


def visible_requests(access: Access) -> QuerySet[Request]:
    """Return the requests that the user may view, for a list.

    A user may view a request if they may view all of its tasks. A request on one job needs only
    the right to view the job. The owner loses the right together with the tasks. Deleted tasks do
    not count. If all tasks are deleted, the owner and administrators may view the request.
    """
    existing = Shard.objects.filter(request=OuterRef("pk"), task_id__in=get_engine().task_ids())
    hidden = existing.exclude(task_id__in=access.visible_task_ids())
    hidden = hidden.exclude(job_id__in=access.visible_job_ids())
    without_task = Q(~Exists(existing))
    if not access.sees_everything:
        without_task &= Q(owner_id=access.user_id)
    found: QuerySet[Request] = Request.objects.filter(
        Q(Exists(existing) & ~Exists(hidden)) | without_task
    )
    return found


def find_request(access: Access, request_id: str, action: Action = "view") -> Request:
    """Return a request that the user may view, or for "edit" also cancel, retry and undo.

    The user's rights to each task and job are checked as if the user opened the task or job. A
    list may show less, for example the requests of one organization only. Raise RequestNotFound,
    PermissionDenied.
    """
    request: Request | None = Request.objects.filter(pk=request_id).first()
    if request is None or not may_view(access, request):
        raise RequestNotFound(f"request {request_id} was not found")
    if action == "edit" and not may_edit(access, request):
        raise PermissionDenied(
            f"you may view request {request_id}, but not change it: only the user who started it"
            " and administrators may, as long as they may edit its tasks"
        )
    return request


def may_view(access: Access, request: Request) -> bool:
    """Return whether the user may view all tasks, or jobs, of a request.

    Deleted tasks do not count. If all are deleted, the owner and administrators may view it.
    """
    return _has_right(access, request, access.viewable_task_ids, access.viewable_job_ids)


def may_edit(access: Access, request: Request) -> bool:
    """Return whether the user may cancel, retry and undo a request.

    Only the user who started it and administrators may, and only while they may edit everything
    that it writes to. Deleted tasks do not count.
    """
    return _is_initiator_or_administrator(access, request) and _has_right(
        access, request, access.editable_task_ids, access.editable_job_ids
    )


def _is_initiator_or_administrator(access: Access, request: Request) -> bool:
    return access.sees_everything or request.owner_id == access.user_id


def _has_right(
    access: Access,
    request: Request,
    allowed_tasks: Callable[[Collection[int]], set[int]],
    allowed_jobs: Callable[[Collection[int]], set[int]],
) -> bool:
    existing = request.shards.filter(task_id__in=get_engine().task_ids())
    targets = set(existing.values_list("task_id", "job_id"))
    if not targets:
        return _is_initiator_or_administrator(access, request)
    tasks = allowed_tasks({task_id for task_id, _ in targets})
    jobs: set[int] = set()
    for task_id, job_id in targets:
        if task_id in tasks:
            continue
        if job_id is None:
            return False
        jobs.add(job_id)
    return allowed_jobs(jobs) == jobs
