"""Receivers of the app's signals: they record CVAT's events and trigger CVAT's webhooks.

Webhooks of jobs, tasks and projects are triggered once, at the end of a background request.
"""

from __future__ import annotations

from typing import Any, Final

from cvat.apps.engine import models
from cvat.apps.events.handlers import handle_function_call, handle_viewset_exception
from django.db import DEFAULT_DB_ALIAS

from cvat_lambda import signals
from cvat_lambda.engine.cvat.compat import impersonate
from cvat_lambda.engine.cvat.writing import update_dates
from cvat_lambda.prepared import PreparedQuery

_PREFIX = "cvat_lambda.integration.cvat"
_FRAME_FIELDS: Final = ("frame", "frame0", "frame1")  # of a call, recorded in its event
_TASK: Final[PreparedQuery[Any]] = PreparedQuery(
    lambda pk: models.Task.objects.filter(pk=pk).only("project").order_by(), int
)


def connect() -> None:
    """Connect the receivers. A second call changes nothing."""
    signals.function_called.connect(record_call, dispatch_uid=f"{_PREFIX}.record_call")
    signals.view_failed.connect(record_failure, dispatch_uid=f"{_PREFIX}.record_failure")
    signals.request_created.connect(record_request, dispatch_uid=f"{_PREFIX}.record_request")
    signals.request_finished.connect(notify_webhooks, dispatch_uid=f"{_PREFIX}.notify_webhooks")


def record_call(
    *,
    function_id: str,
    task_id: int,
    job_id: int | None,
    project_id: int | None,
    error: Any,
    http_request: Any = None,
    **_: Any,
) -> None:
    """Record an event for a call that was answered."""
    if error is not None:
        return
    # Without a query: a version of CVAT that reads other columns of the task loads them.
    task = models.Task.from_db(DEFAULT_DB_ALIAS, ["id", "project_id"], [task_id, project_id])
    target = _target(task, job_id)
    asked = getattr(http_request, "data", {})
    frames = {name: asked[name] for name in _FRAME_FIELDS if asked.get(name) is not None}
    handle_function_call(function_id, target, category="interactive", parameters=frames)


def record_failure(*, error: Exception, context: dict[str, Any], **_: Any) -> None:
    """Record an event for an unexpected error, as CVAT does for its own views."""
    handle_viewset_exception(error, context)


def record_request(*, request: Any, **_: Any) -> None:
    """Record one event for each task of a request, in the name of its owner."""
    task_ids = request.shards.order_by().values_list("task_id", flat=True).distinct()
    if request.job_id is not None:
        targets = [_target(_TASK.first(task_id), request.job_id) for task_id in task_ids]
    else:
        targets = list(models.Task.objects.only("project_id").filter(pk__in=list(task_ids)))
    for target in targets:
        if target is not None:
            handle_function_call(
                request.function_id,
                target,
                category="batch",
                parameters={**request.params, "request": request.pk},
            )


def notify_webhooks(*, request: Any, **_: Any) -> None:
    """Trigger the webhooks of the jobs, tasks and projects that a request has changed."""
    if request.started_at is None or not _may_have_changed_anything(request):
        return
    shards = request.shards.order_by()
    tasks = shards.values_list("task_id", flat=True).distinct()
    with impersonate(request.owner):
        for task_id in tasks:
            jobs = models.Job.objects.select_related("segment__task__project").filter(
                segment__task_id=task_id, updated_date__gte=request.started_at
            )
            update_dates(list(jobs.order_by("pk")), notify=True)


def _may_have_changed_anything(request: Any) -> bool:
    """Return whether annotations may differ. A request may also have only removed some."""
    return bool(request.shapes) or request.params.get("replace", "none") != "none"


def _target(task: Any, job_id: int | None) -> Any:
    """Return a task, or a job of it with the columns that CVAT's events read."""
    if task is None or job_id is None:
        return task
    segment = models.Segment(task=task)
    return models.Job(pk=job_id, segment=segment)
