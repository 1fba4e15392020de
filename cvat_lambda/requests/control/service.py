"""Requests, as the API and the pages use them: create, find, cancel, retry, undo."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from cvat_lambda import signals
from cvat_lambda.annotations.errors import MappingError
from cvat_lambda.annotations.mapping import build_mapping
from cvat_lambda.conf import settings
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Access, Action, Task
from cvat_lambda.errors import (
    InvalidMapping,
    InvalidRequest,
    PermissionDenied,
    RequestNotFound,
    StateConflict,
)
from cvat_lambda.functions import registry
from cvat_lambda.functions.spec import FunctionSpec, Kind
from cvat_lambda.requests.control import overlap, queue, recover, transitions
from cvat_lambda.requests.control import retry as retrying
from cvat_lambda.requests.control import undo as undoing
from cvat_lambda.requests.control.plan import Plan, Scope, plan
from cvat_lambda.requests.store import database_clock, ranges
from cvat_lambda.requests.store.models import LIVE, Request, Shard, Status
from cvat_lambda.requests.store.params import Params

LOOK_EVERY_S = 30.0
MAX_SHARDS = 1000  # of one request that names its ``shard_frames``
NOT_IN_BACKGROUND = {
    Kind.INTERACTOR: "an interactor answers a person's clicks",
    Kind.TRACKER: "a tracker follows what a person drew, frame by frame",
}


def create(
    access: Access,
    *,
    function_id: str,
    task_id: int | None = None,
    job_id: int | None = None,
    job_ids: Sequence[int] = (),
    project_id: int | None = None,
    task_ids: Sequence[int] = (),
    frames: Iterable[Sequence[int]] | None = None,
    mapping: Mapping[str, Any] | None = None,
    threshold: float | None = None,
    cleanup: bool = False,
    replace: str | None = None,
    conv_mask_to_poly: bool = False,
    max_distance: float | None = None,
    only_unannotated: bool = False,
    max_failure_rate: float | None = None,
    priority: int = 0,
    shard_frames: int | None = None,
) -> Request:
    """Check everything that can be checked now, store a request, and queue it on commit.

    ``frames`` are inclusive ranges ``[first, last]`` relative to the task; ``cleanup`` is
    ``replace="all"``, and without either ``CVAT_LAMBDA_DEFAULT_REPLACE`` counts;
    ``shard_frames`` is about how many one worker runs (0: all), instead of the setting.
    Raise FunctionNotFound, FunctionSpecInvalid, InvalidRequest, InvalidMapping, FrameOutOfScope,
    TaskNotFound, JobNotFound, NotFound, PermissionDenied, ScopeOverlap.
    """
    scope = Scope(
        task_id=task_id,
        job_id=job_id,
        job_ids=tuple(job_ids),
        project_id=project_id,
        task_ids=tuple(task_ids),
        frames=None if frames is None else ranges.normalize(frames),
    )
    _require_edit(access, scope)
    spec = registry.get(function_id)
    params = Params(
        mapping=mapping or None,
        threshold=threshold,
        replace=_replace(spec, cleanup, replace),  # type: ignore[arg-type]  # checked by Params
        conv_mask_to_poly=conv_mask_to_poly,
        max_distance=max_distance,
        only_unannotated=only_unannotated,
    )
    if max_failure_rate is not None and not 0 <= max_failure_rate <= 1:
        raise InvalidRequest(f"max_failure_rate must be in [0, 1], not {max_failure_rate:g}")
    _check_kind(spec, params)
    planned = _plan(scope, spec, shard_frames)
    if project_id is not None:
        _require_tasks(access, [task.id for task in planned.tasks])
    for task in planned.tasks:
        _check_task(spec, task, params)
    request = _new_request(access, scope, planned, spec, params)
    request.max_failure_rate = max_failure_rate
    request.priority = priority
    with transaction.atomic():
        _guard(planned)
        request.save(force_insert=True)
        shards = _store_shards(request, planned)
        transaction.on_commit(lambda: _announce(request, shards))
    return request


def visible(access: Access) -> QuerySet[Request]:
    """The requests of which the user may see all tasks; an owner's, too, only as long.

    Of what runs on a job alone, the sight of the job will do. Tasks that were deleted do not
    count; a request without any left is its owner's and the administrators'. Whoever looks also
    has lost requests looked for, now and then.
    """
    recover.recover_quietly(every_s=LOOK_EVERY_S)
    there = Shard.objects.filter(request=OuterRef("pk"), task_id__in=get_engine().task_ids())
    hidden = there.exclude(task_id__in=access.visible_task_ids())
    hidden = hidden.exclude(job_id__in=access.visible_job_ids())
    without_task = Q(~Exists(there))
    if not access.sees_everything:
        without_task &= Q(owner_id=access.user_id)
    found: QuerySet[Request] = Request.objects.filter(
        Q(Exists(there) & ~Exists(hidden)) | without_task
    )
    return found


def find(access: Access, request_id: str, action: Action = "view") -> Request:
    """A request that the user may see, or for "edit" also change.

    Tasks and jobs are judged one by one, as where they themselves are asked for: a list may show
    less, as those of one organization. Raise RequestNotFound, PermissionDenied.
    """
    recover.recover_quietly(every_s=LOOK_EVERY_S)
    request: Request | None = Request.objects.filter(pk=request_id).first()
    if request is None or not viewable(access, request):
        raise RequestNotFound(f"request {request_id} was not found")
    if action == "edit" and not editable(access, request):
        raise PermissionDenied(f"you may see request {request_id}, but not change it")
    return request


def viewable(access: Access, request: Request) -> bool:
    """Whether the user may see a request: all tasks, or jobs, that it is of.

    Tasks that were deleted do not count; where none is left, its owner and administrators may.
    """
    return _may(access, request, access.viewable_task_ids, access.viewable_job_ids)


def editable(access: Access, request: Request) -> bool:
    """Whether the user may cancel, retry and undo a request: edit all that it writes to.

    Tasks that were deleted do not count; where none is left, its owner and administrators may.
    """
    return _may(access, request, access.editable_task_ids, access.editable_job_ids)


def _may(
    access: Access,
    request: Request,
    tasks_among: Callable[[Collection[int]], set[int]],
    jobs_among: Callable[[Collection[int]], set[int]],
) -> bool:
    there = request.shards.filter(task_id__in=get_engine().task_ids())
    places = set(there.values_list("task_id", "job_id"))
    if not places:
        return access.sees_everything or request.owner_id == access.user_id
    tasks = tasks_among({task_id for task_id, _ in places})
    jobs: set[int] = set()
    for task_id, job_id in places:
        if task_id in tasks:
            continue
        if job_id is None:
            return False
        jobs.add(job_id)
    return jobs_among(jobs) == jobs


def cancel(request: Request, *, undo: bool = False, user_id: int | None = None) -> Request:
    """Stop a request at once, and with ``undo`` remove what it added; no error if it had ended."""
    waiting = list(request.shards.filter(status=Status.QUEUED).values_list("rq_job_id", flat=True))
    if transitions.cancel(request.pk):
        queue.drop(waiting)
    if undo:
        undoing.undo(request.pk, user_id=user_id)
    request.refresh_from_db()
    return request


def retry(request: Request) -> Request:
    """Run the failed frames of an ended request again, and those it did not come to.

    Raise StateConflict (it runs, was cancelled or undone, has nothing to retry), ScopeOverlap.
    """
    with transaction.atomic():
        shards = retrying.reopen(request)
        transaction.on_commit(
            lambda: queue.send(shards, meta=request.meta, at_front=request.priority > 0)
        )
    request.refresh_from_db()
    return request


def undo(request: Request, *, user_id: int | None = None) -> int:
    """Remove exactly what an ended request added; how many annotations went.

    Raise StateConflict for a request that runs.
    """
    request.refresh_from_db()
    if request.status in LIVE:
        raise StateConflict(f"request {request.id} is {request.status}: cancel it first")
    removed = undoing.undo(request.pk, user_id=user_id)
    request.refresh_from_db()
    return removed


def _replace(spec: FunctionSpec, cleanup: bool, replace: str | None) -> str:
    """The policy. CVAT's page always sends ``cleanup``, so false says nothing."""
    if replace is None and cleanup:
        return "all"
    if replace is None:
        return "none" if spec.kind is Kind.REID else str(settings.DEFAULT_REPLACE)
    if cleanup and replace != "all":
        raise InvalidRequest(f"cleanup replaces all annotations, but replace is {replace!r}")
    return replace


def _require_edit(access: Access, scope: Scope) -> None:
    """Whoever may not write there learns nothing more."""
    if scope.project_id is not None:
        access.require_project(scope.project_id, "edit")
    jobs = scope.job_ids if scope.job_id is None else (scope.job_id,)
    if jobs:
        editable = access.editable_job_ids(jobs)
        for job_id in jobs:
            if job_id not in editable:
                access.require_job(job_id, "edit")  # which says why not
    else:
        _require_tasks(access, scope.task_ids if scope.task_id is None else (scope.task_id,))


def _require_tasks(access: Access, task_ids: Sequence[int]) -> None:
    editable = access.editable_task_ids(task_ids)
    for task_id in task_ids:
        if task_id not in editable:
            access.require_task(task_id, "edit")  # which says why not


def _check_kind(spec: FunctionSpec, params: Params) -> None:
    why = NOT_IN_BACKGROUND.get(spec.kind)
    if why is not None:
        raise InvalidRequest(
            f"function {spec.id!r} cannot run in the background: {why}. Call it instead"
        )
    if spec.kind is Kind.REID:
        if params.replace != "none":
            raise InvalidRequest(
                f"function {spec.id!r} joins the rectangles that are there: "
                "it cannot replace annotations"
            )
        if params.only_unannotated:
            raise InvalidRequest(
                f"function {spec.id!r} works on annotated frames: leave only_unannotated out"
            )


def _plan(scope: Scope, spec: FunctionSpec, shard_frames: int | None) -> Plan:
    if spec.kind is Kind.REID:
        if shard_frames:
            raise InvalidRequest(
                f"function {spec.id!r} joins rectangles over all frames of a job: "
                "leave shard_frames out"
            )
        return plan(get_engine(), scope, by_job=True)
    size = settings.SHARD_FRAMES if shard_frames is None else shard_frames
    if size < 0:
        raise InvalidRequest(f"shard_frames must be 0 or more, not {size}")
    planned = plan(get_engine(), scope, shard_frames=size)
    if shard_frames and len(planned.shards) > MAX_SHARDS:
        raise InvalidRequest(
            f"shard_frames {shard_frames} makes {len(planned.shards)} shards: "
            f"give more frames to each, for at most {MAX_SHARDS}"
        )
    return planned


def _check_task(spec: FunctionSpec, task: Task, params: Params) -> None:
    if spec.kind is not Kind.DETECTOR:
        return
    try:
        found = build_mapping(params.mapping, spec.labels, task.labels)
    except MappingError as exc:
        raise InvalidMapping(f"task {task.id}: {exc.message}") from exc
    if not found.by_name:
        raise InvalidMapping(
            f"function {spec.id!r} and task {task.id} have no label in common: "
            "give a mapping of the function's labels to the task's"
        )


def _new_request(
    access: Access, scope: Scope, planned: Plan, spec: FunctionSpec, params: Params
) -> Request:
    tasks = planned.tasks
    jobs = {shard.job_id for shard in planned.shards}
    one_job = scope.job_id
    if one_job is None and len(scope.job_ids) == 1 and len(jobs) == 1:
        one_job = scope.job_ids[0]
    return Request(
        owner_id=access.user_id,
        organization_id=tasks[0].organization_id,
        project_id=scope.project_id,
        task_id=tasks[0].id if len(tasks) == 1 else None,
        job_id=one_job,
        function_id=spec.id,
        function_kind=spec.kind.value,
        function_version=spec.version,
        function_revision=spec.revision,
        params=params.to_json(),
        total=planned.total,
        meta=access.job_meta(function_id=spec.id, task_id=tasks[0].id, job_id=one_job),
    )


def _store_shards(request: Request, planned: Plan) -> list[Shard]:
    now = database_clock.read()
    shards = [
        Shard(
            request=request,
            index=index,
            task_id=shard.task_id,
            job_id=shard.job_id,
            own_layer=shard.own_layer,
            frames=[list(pair) for pair in shard.frames],
            first_frame=shard.frames[0][0],
            last_frame=shard.frames[-1][1],
            total=ranges.count(shard.frames),
            rq_job_id=queue.new_job_id(request.pk, index),
            enqueued_at=now,
        )
        for index, shard in enumerate(planned.shards)
    ]
    Shard.objects.bulk_create(shards)
    return shards


def _announce(request: Request, shards: list[Shard]) -> None:
    signals.request_created.send_robust(sender=Request, request=request)
    queue.send(shards, meta=request.meta, at_front=request.priority > 0)


def _guard(planned: Plan) -> None:
    """Hold the tasks until the commit, and refuse frames that a live request has."""
    overlap.lock_tasks({shard.task_id for shard in planned.shards})
    overlap.refuse_overlap(planned.shards)
