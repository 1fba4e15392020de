"""Which requests a user may view or edit."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

from django.db.models import Exists, OuterRef, Q, QuerySet

from cvat_lambda.agents.access import visible_rows
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.ids_subquery import among
from cvat_lambda.engine.port import Access, Action
from cvat_lambda.errors import FunctionNotFound, PermissionDenied, RequestNotFound
from cvat_lambda.functions.models import Function
from cvat_lambda.requests.store.models import Request, Shard
from cvat_lambda.requests.store.params import Params

LISTED_IDS: Final = 500  # ids of tasks or jobs that a query names


def visible_requests(access: Access) -> QuerySet[Request]:
    """Return the requests that the user may view, for a list.

    A user may view a request if they may view all of its tasks. A request on one job needs only
    the right to view the job. The owner loses the right together with the tasks. Deleted tasks do
    not count. If all tasks are deleted, the owner and administrators may view the request.
    """
    visible = access.visible_task_ids()
    if access.sees_everything and _selects_all(visible):
        return Request.objects.all()
    tasks = _short_list(visible)
    jobs = _short_list(access.visible_job_ids_without_task())
    # An index finds the rows of each condition of this disjunction, so that the database need not
    # look at the requests of other users. The conditions with subqueries come last.
    may_view = Q()
    if not _is_empty(tasks):
        may_view |= among("task_id", tasks)
    if not _is_empty(jobs):
        may_view |= among("job_id", jobs) | Q(pk__in=_on_several_jobs(jobs))
    may_view |= _on_deleted_tasks(access)
    if not (_is_empty(tasks) and _is_empty(jobs)):
        may_view |= Q(task_id=None) & _all_targets_in(tasks, jobs)
    found: QuerySet[Request] = Request.objects.filter(may_view)
    return found


def _selects_all(ids: Any) -> bool:
    """Return whether a subquery selects all tasks of the engine."""
    return isinstance(ids, QuerySet) and not ids.query.has_filters() and not ids.query.is_sliced


def _short_list(ids: Any) -> Any:
    """Return up to `LISTED_IDS` ids as a list, so that the planner knows them, else the subquery.

    Users who may view more have so many requests that the newest ones are found soon.
    """
    if not isinstance(ids, QuerySet):
        return sorted(ids)
    first = list(ids.values_list("pk", flat=True)[: LISTED_IDS + 1])
    return ids if len(first) > LISTED_IDS else first


def _is_empty(ids: Any) -> bool:
    return isinstance(ids, list) and not ids


def _all_targets_in(tasks: Any, jobs: Any) -> Q:
    """Return the condition that the existing targets of a request are among these, and not none."""
    of_request = Shard.objects.filter(request=OuterRef("pk"))
    of_tasks, of_jobs = among("task_id", tasks), among("job_id", jobs)
    allowed = of_tasks | of_jobs
    hidden = of_request.filter(task_id__in=get_engine().task_ids()).exclude(of_tasks)
    hidden = hidden.exclude(of_jobs)
    return Q(Exists(of_request.filter(allowed)) & ~Exists(hidden))


def _on_several_jobs(jobs: Any) -> list[str]:
    """Return the ids of requests that run on jobs of one task, all of them among these."""
    shards = Shard.objects.filter(among("job_id", jobs), request__job_id=None).order_by()
    some = list(shards.values_list("request_id", flat=True).distinct())
    allowed = Request.objects.filter(_all_targets_in([], jobs), pk__in=some)
    return list(allowed.values_list("pk", flat=True))


def _on_deleted_tasks(access: Access) -> Q:
    """Return the condition of the requests whose tasks are all deleted."""
    existing = Shard.objects.filter(request=OuterRef("pk"), task_id__in=get_engine().task_ids())
    deleted = Q(task_id__isnull=False) & ~Q(task_id__in=get_engine().task_ids())
    deleted |= Q(task_id=None) & ~Q(Exists(existing))
    return deleted if access.sees_everything else Q(owner_id=access.user_id) & deleted


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


def require_functions(access: Access, request: Request) -> None:
    """Refuse to run a request again whose functions the user may not see any longer.

    A private function is hidden from people who left its organization. A function that was deleted
    is no obstacle: the run fails with this cause. Raise FunctionNotFound.
    """
    params = Params.from_json(request.params)
    start, link = (params.tracking or {}).get("start") or {}, params.link or {}
    named = {request.function_id, start.get("detector"), link.get("reid")} - {None}
    known = set(Function.objects.filter(pk__in=named).values_list("pk", flat=True))
    seen = visible_rows(access).filter(pk__in=named).values_list("pk", flat=True)
    for function_id in sorted(known - set(seen)):
        raise FunctionNotFound(f"function '{function_id}' was not found")


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
