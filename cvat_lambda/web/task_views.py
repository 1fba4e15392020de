"""The pages of tasks and frames of the standalone server."""

from __future__ import annotations

from typing import Any, Final

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse

from cvat_lambda.agents.access import offered
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Access, Task
from cvat_lambda.engine.standalone.exchange.formats import FORMATS
from cvat_lambda.functions.models import CALLABLE
from cvat_lambda.functions.spec import Kind
from cvat_lambda.requests.control.access import visible_requests
from cvat_lambda.requests.store.queries import on_task
from cvat_lambda.web import overlay
from cvat_lambda.web.annotated_frames import annotated_frames, frame_json, track_json
from cvat_lambda.web.pages import access_of, page, show, task_of
from cvat_lambda.web.request_rows import rows_of
from cvat_lambda.web.start_data import function_choices, labels_of
from cvat_lambda.web.start_views import visible_task_ids

TASKS_A_PAGE: Final = 24
FRAMES_A_PAGE: Final = 24
MAX_TOOLS: Final = 1000
REQUESTS_SHOWN: Final = 10
REQUESTS_ON_TASK: Final = 5


@page("GET")
def home(request: HttpRequest) -> HttpResponse:
    """Show the user's tasks and their requests."""
    shown = Paginator(visible_task_ids(request), TASKS_A_PAGE).get_page(request.GET.get("page"))
    found = get_engine().tasks(list(shown))
    newest = visible_requests(access_of(request)).order_by("-created_at")[:REQUESTS_SHOWN]
    context = {
        "page": shown,
        "tasks": [found[task_id] for task_id in shown if task_id in found],
        "requests": rows_of(newest),
    }
    return show(request, "home.html", context)


@page("GET")
def task(request: HttpRequest, task_id: int) -> HttpResponse:
    """Show a task's frames with their annotations, and its requests."""
    found = task_of(request, task_id)
    numbers = [number for number in range(found.size) if number not in found.deleted_frames]
    shown = Paginator(numbers, FRAMES_A_PAGE).get_page(request.GET.get("page"))
    of_task = on_task(visible_requests(access_of(request)), task_id)
    context = {
        "task": found,
        "page": shown,
        "frames": annotated_frames(found, list(shown)),
        "requests": rows_of(of_task.order_by("-created_at")[:REQUESTS_ON_TASK]),
        **_exchange(access_of(request), found),
        "formats": list(FORMATS),
        "labels": [(label, overlay.color_of(label, at)) for at, label in enumerate(found.labels)],
    }
    return show(request, "task.html", context)


@page("GET")
def new_task(request: HttpRequest) -> HttpResponse:
    """Show the form that creates a task; its script uploads the files through the API."""
    return show(request, "new_task.html", {"data": function_choices(access_of(request), None, "")})


@page("GET")
def frame(request: HttpRequest, task_id: int, number: int) -> HttpResponse:
    """Show one frame in the workbench."""
    found = task_of(request, task_id)
    if number >= found.size:
        raise Http404(f"Task {task_id} has {found.size} frames.")
    kinds = (Kind.INTERACTOR, Kind.TRACKER)
    tools, _ = offered(access_of(request), kinds, limit=MAX_TOOLS)
    data = {
        "task": {"id": found.id, "name": found.name, "size": found.size},
        "deleted": sorted(found.deleted_frames),
        "labels": labels_of(found),
        "tools": [
            {
                "id": spec.id,
                "name": spec.name,
                "kind": spec.kind.value,
                "state": spec.state,
                "shape_types": list(spec.supported_shape_types),
                "embedding": spec.embedding and not spec.is_native,
                "negative": spec.interactor is None or spec.interactor.min_neg_points >= 0,
            }
            for spec in tools
            if spec.state in CALLABLE
        ],
        "frame": frame_json(found, number),
    }
    return show(request, "frame.html", {"task": found, "number": number, "data": data})


@page("GET")
def frame_data(request: HttpRequest, task_id: int, number: int) -> HttpResponse:
    """Answer one frame with its annotations as JSON."""
    found = task_of(request, task_id)
    if number >= found.size:
        raise Http404(f"Task {task_id} has {found.size} frames.")
    return JsonResponse(frame_json(found, number))


@page("GET")
def track_data(request: HttpRequest, task_id: int, track_id: int) -> HttpResponse:
    """Answer one track of a task with all its keyframes as JSON."""
    found = track_json(task_of(request, task_id), track_id)
    if found is None:
        raise Http404(f"Task {task_id} has no track {track_id}: it was changed or deleted.")
    return JsonResponse(found)


def _exchange(access: Access, task: Task) -> dict[str, Any]:
    """Return what the user may export and import: the API's path and words for each choice."""
    may_edit = bool(access.editable_task_ids([task.id]))
    whole = [(f"tasks/{task.id}", "the whole task")]
    jobs = [job for job in task.jobs if len(job.frames)]
    words = [
        (job.id, f"jobs/{job.id}", f"job #{job.id}: frames {job.frames[0]} to {job.frames[-1]}")
        for job in jobs
    ]
    ids = [job.id for job in jobs]
    viewable, editable = access.viewable_job_ids(ids), access.editable_job_ids(ids)
    exports = whole + [(path, text) for pk, path, text in words if pk in viewable]
    imports = [(path, text) for pk, path, text in words if pk in editable]
    return {
        "may_edit": may_edit,
        "exports": exports if len(jobs) > 1 else whole,
        "imports": (whole + (imports if len(jobs) > 1 else [])) if may_edit else imports,
    }
