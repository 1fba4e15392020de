"""Create a request: check it, plan its shards, store it and put it on the queue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction

from cvat_lambda import signals
from cvat_lambda.agents.access import find_function
from cvat_lambda.annotations.prompts import Exemplar
from cvat_lambda.conf import settings
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Access
from cvat_lambda.errors import InvalidRequest, PermissionDenied
from cvat_lambda.functions import registry
from cvat_lambda.functions.spec import FunctionSpec, Kind
from cvat_lambda.images.region import Region
from cvat_lambda.requests.control.kind_checks import check_kind
from cvat_lambda.requests.control.overlap import refuse_overlap
from cvat_lambda.requests.control.plan import Plan, RequestScope, plan
from cvat_lambda.requests.control.task_checks import (
    check_exemplars,
    check_task,
    frames_of_exemplars,
)
from cvat_lambda.requests.control.track_checks import check_link, check_tracking
from cvat_lambda.requests.store import queue, ranges
from cvat_lambda.requests.store.database_clock import db_now
from cvat_lambda.requests.store.locks import lock_tasks
from cvat_lambda.requests.store.models import PRIORITIZE, Request, Shard
from cvat_lambda.requests.store.params import Params
from cvat_lambda.requests.store.tracking import Direction, Link, Tracking

MAX_SHARDS = 1000  # of one request that names its ``shard_frames``


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRequest:
    """A request that passed all checks that can be made before it runs."""

    request: Request  # not stored
    plan: Plan
    spec: FunctionSpec
    params: Params


def create_request(access: Access, **options: Any) -> Request:
    """Check a request, store it, and queue it on commit.

    The options are those of `check_request`. Raise as `check_request`, and ScopeOverlap.
    """
    checked = check_request(access, **options)
    request = checked.request
    with transaction.atomic():
        _guard(checked.plan)
        request.save(force_insert=True)
        shards = _store_shards(request, checked.plan)
        transaction.on_commit(lambda: _notify_and_send(request, shards))
    return request


def check_request(
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
    on_redeploy: str = "continue",
    max_failure_rate: float | None = None,
    priority: int = 0,
    shard_frames: int | None = None,
    output: str = "shapes",
    tracking: Tracking | None = None,
    link: Link | None = None,
    roi: Sequence[int] | None = None,
    text: Sequence[str] = (),
    exemplars: Sequence[Exemplar] = (),
    labels: Sequence[str] = (),
    replace_labels: Sequence[str] | None = None,
) -> CheckedRequest:
    """Check everything that can be checked before a request runs; store nothing.

    ``frames`` are inclusive ranges ``[first, last]`` relative to the task. ``cleanup`` means
    ``replace="all"``. Without ``cleanup`` and ``replace``, ``CVAT_LAMBDA_DEFAULT_REPLACE`` is
    used. ``shard_frames`` is roughly the number of frames that one worker runs (0: all of them); it
    overrides ``CVAT_LAMBDA_SHARD_FRAMES``. ``tracking`` is required of trackers. ``link`` joins
    tracks over gaps, of a tracker or of a detector with ``output="tracks"``. ``roi`` is the part of
    each frame ``[xtl, ytl, xbr, ybr]`` that a detector gets. ``text`` and ``exemplars`` describe
    what is to be found, ``labels`` are those of the function that are used, and ``replace_labels``
    those of the task whose annotations are replaced. Without ``text`` a request with exemplars
    runs on their frames only.
    Raise FunctionNotFound, FunctionSpecInvalid, InvalidRequest, InvalidMapping, FrameOutOfScope,
    TaskNotFound, JobNotFound, NotFound, PermissionDenied.
    """
    if exemplars and not text:
        frames = frames_of_exemplars(exemplars, frames)
    scope = RequestScope(
        task_id=task_id,
        job_id=job_id,
        job_ids=tuple(job_ids),
        project_id=project_id,
        task_ids=tuple(task_ids),
        frames=None if frames is None else ranges.normalize(frames),
    )
    _require_edit(access, scope)
    spec = find_function(access, function_id, ask=registry.Ask.IF_NOT_READY)
    params = Params(
        mapping=mapping or None,
        threshold=threshold,
        replace=_replace(spec, cleanup, replace),  # type: ignore[arg-type]  # checked by Params
        conv_mask_to_poly=conv_mask_to_poly,
        max_distance=max_distance,
        only_unannotated=only_unannotated,
        output=output,  # type: ignore[arg-type]  # checked by Params
        link=None if link is None else link.to_json(),
        roi=None if roi is None else Region.parse(roi).box,
        on_redeploy=on_redeploy,  # type: ignore[arg-type]  # checked by Params
        text=tuple(text) or None,
        exemplars=tuple(each.to_json() for each in exemplars) or None,
        labels=tuple(labels) or None,
        replace_labels=None if replace_labels is None else tuple(replace_labels),
    )
    if max_failure_rate is not None and not 0 <= max_failure_rate <= 1:
        raise InvalidRequest(f"max_failure_rate must be in [0, 1], not {max_failure_rate:g}")
    _check_priority(access, priority)
    check_kind(spec, params, tracking)
    planned = _plan(
        scope,
        spec,
        shard_frames,
        adds_tracks=params.output == "tracks",
        direction=None if tracking is None else tracking.direction,
    )
    if project_id is not None:
        _require_tasks(access, [task.id for task in planned.tasks])
    check_exemplars(planned, exemplars)
    for task in planned.tasks:
        check_task(spec, task, params)
    if link is not None:
        check_link(access, link)
    if tracking is not None:
        tracking = check_tracking(access, spec, planned, tracking)
        params = replace_fields(params, tracking=tracking.to_json())
    request = _new_request(access, scope, planned, spec, params)
    request.max_failure_rate = max_failure_rate
    request.priority = priority
    return CheckedRequest(request=request, plan=planned, spec=spec, params=params)


def _replace(spec: FunctionSpec, cleanup: bool, replace: str | None) -> str:
    """Return the replacement policy. A ``cleanup`` of false has no effect."""
    if replace is None and cleanup:
        return "all"
    if replace is None:
        return str(settings.DEFAULT_REPLACE) if spec.kind is Kind.DETECTOR else "none"
    if cleanup and replace != "all":
        raise InvalidRequest(f"cleanup replaces all annotations, but replace is {replace!r}")
    return replace


def _require_edit(access: Access, scope: RequestScope) -> None:
    """Refuse users who may not edit the scope, before another error could show what it holds."""
    if scope.project_id is not None:
        access.require_project(scope.project_id, "edit")
    jobs = scope.job_ids if scope.job_id is None else (scope.job_id,)
    if jobs:
        editable = access.editable_job_ids(jobs)
        for job_id in jobs:
            if job_id not in editable:
                access.require_job(job_id, "edit")  # raises the error that says why
    else:
        _require_tasks(access, scope.task_ids if scope.task_id is None else (scope.task_id,))


def _require_tasks(access: Access, task_ids: Sequence[int]) -> None:
    editable = access.editable_task_ids(task_ids)
    for task_id in task_ids:
        if task_id not in editable:
            access.require_task(task_id, "edit")  # raises the error that says why


def _check_priority(access: Access, priority: int) -> None:
    """Refuse a priority above 0 without the right to put requests before those of others."""
    if priority <= 0 or access.sees_everything:
        return
    user = get_user_model()._default_manager.filter(pk=access.user_id).first()
    if user is None or not user.has_perm(f"cvat_lambda.{PRIORITIZE}"):
        raise PermissionDenied(
            "a priority above 0 needs the permission to put requests before those of others"
        )


def _plan(
    scope: RequestScope,
    spec: FunctionSpec,
    shard_frames: int | None,
    *,
    adds_tracks: bool,
    direction: Direction | None,
) -> Plan:
    if spec.kind is Kind.REID:
        if shard_frames:
            raise InvalidRequest(
                f"function {spec.id!r} joins rectangles over all frames of a job: "
                "remove shard_frames"
            )
        return plan(get_engine(), scope, by_job=True)
    if spec.kind is Kind.TRACKER or adds_tracks:
        if shard_frames:
            raise InvalidRequest("objects are followed from frame to frame: remove shard_frames")
        return plan(get_engine(), scope, adds_tracks=True, direction=direction)
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


def _new_request(
    access: Access, scope: RequestScope, planned: Plan, spec: FunctionSpec, params: Params
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
    now = db_now()
    shards = [
        Shard(
            request=request,
            index=index,
            task_id=shard.task_id,
            job_id=shard.job_id,
            private_annotations=shard.private_annotations,
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
    for shard, planned_shard in zip(shards, planned.shards, strict=True):
        if planned_shard.after is not None:
            shard.after = shards[planned_shard.after]
            shard.save(update_fields=["after"])
    return shards


def _notify_and_send(request: Request, shards: list[Shard]) -> None:
    signals.request_created.send_robust(sender=Request, request=request)
    first = [shard for shard in shards if shard.after_id is None]  # the others wait for these
    queue.send(first, meta=request.meta, at_front=request.priority > 0)


def _guard(planned: Plan) -> None:
    """Lock the tasks until the commit, and refuse frames that a live request works on."""
    lock_tasks({shard.task_id for shard in planned.shards})
    refuse_overlap(planned.shards)
