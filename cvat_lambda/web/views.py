"""The views of the pages: they parse arguments, check rights, call other rooms and render."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Access, Task
from cvat_lambda.errors import InvalidRequest, LambdaError, NotFound
from cvat_lambda.functions import registry
from cvat_lambda.functions.spec import Kind
from cvat_lambda.requests.control.access import find_request, may_edit, visible_requests
from cvat_lambda.requests.control.cancel import cancel_request
from cvat_lambda.requests.control.compatibility import choices_for
from cvat_lambda.requests.control.create import create_request
from cvat_lambda.requests.control.retry import may_retry, retry_request
from cvat_lambda.requests.control.undo import undo_request
from cvat_lambda.requests.store.models import FrameStatus, Request
from cvat_lambda.requests.store.notes import notes_to_json
from cvat_lambda.requests.store.progress import progress_of, summary_of
from cvat_lambda.requests.store.queries import on_task, outcomes_of
from cvat_lambda.requests.store.tracking import DIRECTIONS, StartFilter, Tracking
from cvat_lambda.web import overlay
from cvat_lambda.web.annotated_frames import annotated_frames, annotation_rows, unreadable
from cvat_lambda.web.badges import badge_of

TASKS_A_PAGE = 20
FRAMES_A_PAGE = 24
REQUESTS_SHOWN = 20
REQUESTS_ON_TASK = 5
FAILURES_A_PAGE = 50
REPLACING = (
    ("", "the default"),
    ("function", "what this function made before"),
    ("none", "nothing"),
    ("automatic", "everything automatic"),
    ("all", "everything"),
)


def _access(request: HttpRequest) -> Access:
    return get_engine().access(request)  # type: ignore[arg-type]  # has .user, as DRF's has


def _task(request: HttpRequest, task_id: int) -> Task:
    try:
        _access(request).require_task(task_id, "view")
        return get_engine().task(task_id)
    except NotFound as exc:
        raise Http404(exc.message) from exc


def _visible_task_ids(request: HttpRequest) -> list[int]:
    """Return the ids of the tasks that the user may view, newest first."""
    visible = _access(request).visible_task_ids()
    if isinstance(visible, QuerySet):
        visible = visible.values_list("pk", flat=True)
    return sorted(visible, reverse=True)


def _requests(request: HttpRequest) -> QuerySet[Request]:
    return visible_requests(_access(request)).order_by("-created_at")


def _request(request: HttpRequest, request_id: str) -> Request:
    """Return a request that the user may view. Raise Http404."""
    if "\x00" in request_id:  # PostgreSQL refuses NUL in a query
        raise Http404("The request was not found.")
    found: Request = get_object_or_404(_requests(request), pk=request_id)
    return found


@login_required
@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """Show the user's tasks and their requests."""
    page = Paginator(_visible_task_ids(request), TASKS_A_PAGE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "tasks": [get_engine().task(task_id) for task_id in page],
        "requests": _rows(_requests(request)[:REQUESTS_SHOWN]),
    }
    return render(request, "cvat_lambda/home.html", context)


@login_required
@require_GET
def functions(request: HttpRequest) -> HttpResponse:
    """Show all known functions with their states and problems."""
    return render(request, "cvat_lambda/functions.html", {"functions": registry.rows()})


@login_required
@require_http_methods(["GET", "POST"])
def task(request: HttpRequest, task_id: int) -> HttpResponse:
    """Show a task's frames with their annotations; POST starts a request."""
    found = _task(request, task_id)
    problem: LambdaError | None = None
    if request.method == "POST":
        try:
            started = _start(request, task_id)
            return redirect("request", request_id=started.id)
        except LambdaError as exc:
            problem = exc
    numbers = [number for number in range(found.size) if number not in found.deleted_frames]
    page = Paginator(numbers, FRAMES_A_PAGE).get_page(request.GET.get("page"))
    context = {
        "task": found,
        "page": page,
        "frames": annotated_frames(found, list(page)),
        "requests": _rows(on_task(_requests(request), task_id)[:REQUESTS_ON_TASK]),
        "choices": choices_for(found),
        "trackers": choices_for(found, [Kind.TRACKER]),
        "directions": DIRECTIONS,
        "replacing": REPLACING,
        "form": request.POST,  # the form keeps the refused values
        "labels": [(label, overlay.color_of(at)) for at, label in enumerate(found.labels)],
        "problem": problem,
    }
    return render(request, "cvat_lambda/task.html", context, status=_status(problem))


def _status(problem: LambdaError | None) -> int:
    return problem.status_code if problem is not None else 200


def _start(request: HttpRequest, task_id: int) -> Request:
    if request.POST.get("action") == "track":
        return _start_tracking(request, task_id)
    text = request.POST.get("threshold", "").strip()
    return create_request(
        _access(request),
        function_id=request.POST.get("function", ""),
        task_id=task_id,
        threshold=_number(text) if text else None,
        replace=request.POST.get("replace") or None,
    )


def _start_tracking(request: HttpRequest, task_id: int) -> Request:
    """Follow the shapes of a frame."""
    text = request.POST.get("frame", "").strip() or "0"
    if not text.isdecimal():
        raise InvalidRequest(f"'{text}' is not a frame number")
    return create_request(
        _access(request),
        function_id=request.POST.get("function", ""),
        task_id=task_id,
        tracking=Tracking(
            start=StartFilter(frame=int(text)),
            direction=request.POST.get("direction", "forward"),  # type: ignore[arg-type]  # checked
        ),
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as exc:
        raise InvalidRequest(
            f"'{text}' is not a number; the confidence threshold is in [0, 1]"
        ) from exc


@login_required
@require_GET
def frame(request: HttpRequest, task_id: int, number: int) -> HttpResponse:
    """Show one frame with its annotations, and the request that made each of them."""
    found = _task(request, task_id)
    if number >= found.size:
        raise Http404(f"Task {task_id} has {found.size} frames.")
    (item,) = annotated_frames(found, [number])
    if problem := unreadable(found, number):
        item["problem"] = problem
    context = {
        "task": found,
        "item": item,
        "rows": annotation_rows(found, item),
        "before": number - 1 if number > 0 else None,
        "after": number + 1 if number + 1 < found.size else None,
    }
    return render(request, "cvat_lambda/frame.html", context)


def _rows(items: Iterable[Request]) -> list[dict[str, Any]]:
    found = list(items)
    progress = progress_of(found)
    return [
        {"request": item, "progress": progress[item.pk], "badge": badge_of(item)} for item in found
    ]


@login_required
@require_http_methods(["GET", "POST"])
def request_detail(request: HttpRequest, request_id: str) -> HttpResponse:
    """Show a request, its progress and its failed frames; POST cancels, retries or undoes it."""
    found = _request(request, request_id)
    problem: LambdaError | None = None
    if request.method == "POST":
        try:
            _act(request, found)
            return redirect("request", request_id=request_id)
        except LambdaError as exc:
            problem = exc
    failures = outcomes_of(found, FrameStatus.FAILED)
    context = {
        "row": _rows([found])[0],
        "page": Paginator(failures, FAILURES_A_PAGE).get_page(request.GET.get("page")),
        "may_edit": may_edit(_access(request), found),
        "may_retry": may_retry(found),
        "problem": problem,
    }
    return render(request, "cvat_lambda/request.html", context, status=_status(problem))


def _act(request: HttpRequest, found: Request) -> None:
    access = _access(request)
    find_request(access, found.pk, "edit")
    match request.POST.get("action"):
        case "cancel":
            cancel_request(found, user_id=access.user_id)
        case "retry":
            retry_request(found)
        case "undo":
            undo_request(found, user_id=access.user_id)
        case _:
            raise InvalidRequest("the action must be cancel, retry or undo")


@login_required
@require_GET
def request_progress(request: HttpRequest, request_id: str) -> HttpResponse:
    """Return what `progress.js` shows of a live request."""
    found = _request(request, request_id)
    progress = progress_of([found])[found.pk]
    return JsonResponse(
        {
            "status": found.status,
            "badge": badge_of(found),
            "shapes": found.shapes,
            "done": found.done,
            "failed": found.failed,
            "skipped": found.skipped,
            "total": found.total,
            "rate": progress.rate,
            "eta_s": progress.eta_s,
            "summary": summary_of(found),
            "notes": notes_to_json(found.notes),
            "failures": [
                {"frame": outcome.frame, "code": outcome.code, "message": outcome.message}
                for outcome in outcomes_of(found, FrameStatus.FAILED)[:FAILURES_A_PAGE]
            ],
        }
    )
