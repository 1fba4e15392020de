"""What our signals mean to CVAT: its events, and one word to its webhooks at the end of a run."""

from __future__ import annotations

from typing import Any, Final

from cvat.apps.engine import models
from cvat.apps.events.handlers import handle_function_call, handle_viewset_exception

from cvat_lambda import signals
from cvat_lambda.engine.cvat.compat import in_the_name_of
from cvat_lambda.engine.cvat.prepared import Prepared, built
from cvat_lambda.engine.cvat.writing import note_change

_PREFIX = "cvat_lambda.integration.cvat"
_FRAMES: Final = ("frame", "frame0", "frame1")  # of a call, in its event
_PROJECTS: Final = Prepared(
    lambda pk: models.Task.objects.filter(pk=pk).values_list("id", "project")
)


def connect() -> None:
    """Listen; a second time changes nothing."""
    signals.function_called.connect(record_call, dispatch_uid=f"{_PREFIX}.record_call")
    signals.view_failed.connect(record_failure, dispatch_uid=f"{_PREFIX}.record_failure")
    signals.request_created.connect(record_request, dispatch_uid=f"{_PREFIX}.record_request")
    signals.request_finished.connect(tell_webhooks, dispatch_uid=f"{_PREFIX}.tell_webhooks")


def record_call(
    *,
    function_id: str,
    task_id: int,
    job_id: int | None,
    error: Any,
    http_request: Any = None,
    **_: Any,
) -> None:
    """An event of a call that was answered."""
    if error is not None:
        return
    target = _target(task_id, job_id)
    if target is not None:
        asked = getattr(http_request, "data", {})
        frames = {name: asked[name] for name in _FRAMES if asked.get(name) is not None}
        handle_function_call(function_id, target, category="interactive", parameters=frames)


def record_failure(*, error: Exception, context: dict[str, Any], **_: Any) -> None:
    """An event of an unexpected error, as of one in a view of CVAT's own."""
    handle_viewset_exception(error, context)


def record_request(*, request: Any, **_: Any) -> None:
    """An event of a request: one a task, by the person who made it."""
    task_ids = request.shards.order_by().values_list("task_id", flat=True).distinct()
    if request.job_id is not None:
        targets = [_target(task_id, request.job_id) for task_id in task_ids]
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


def tell_webhooks(*, request: Any, **_: Any) -> None:
    """Webhooks of the jobs, tasks and projects that a request changed hear of it once."""
    if request.started_at is None or not _may_have_changed_anything(request):
        return
    shards = request.shards.order_by()
    tasks = shards.values_list("task_id", flat=True).distinct()
    with in_the_name_of(request.owner):
        for task_id in tasks:
            jobs = models.Job.objects.select_related("segment__task__project").filter(
                segment__task_id=task_id, updated_date__gte=request.started_at
            )
            note_change(list(jobs.order_by("pk")), tell=True)


def _may_have_changed_anything(request: Any) -> bool:
    """What replaces may remove and add nothing."""
    return bool(request.shapes) or request.params.get("replace", "none") != "none"


def _target(task_id: int, job_id: int | None) -> Any:
    """A task or job, with what CVAT's events say of it."""
    row = _PROJECTS.first(task_id)
    if row is None:
        return None
    task = built(models.Task, ("id", "project"), row)
    if job_id is None:
        return task
    segment = models.Segment(task=task)
    return models.Job(pk=job_id, segment=segment)
