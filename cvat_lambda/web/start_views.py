"""The page that starts requests, and the link from a failed frame to CVAT."""

from __future__ import annotations

from typing import Any, Final

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect

from cvat_lambda.agents.access import find_function
from cvat_lambda.engine import get_engine
from cvat_lambda.web.links import cvat_frame_url, frame_url, is_standalone, task_url
from cvat_lambda.web.pages import access_of, page, show, task_of_frame
from cvat_lambda.web.start_data import function_choices, function_data, start_data
from cvat_lambda.web.start_target import start_target

TASKS_A_PAGE: Final = 50


@page("GET")
def start(request: HttpRequest) -> HttpResponse:
    """Show the form that starts a request; without a target in the query, a list of tasks.

    The form's script sends the request to the API and shows what it answers.
    """
    access = access_of(request)
    target = start_target(access, request.GET)
    if target is None:
        return _choose_task(request)
    data = start_data(access, target, request.GET.get("function", ""))
    return show(request, "start.html", {"target": target, "data": data})


@page("GET")
def functions(request: HttpRequest) -> HttpResponse:
    """Return functions that have ``search`` in their id or name, for the select of a form."""
    access = access_of(request)
    target = start_target(access, request.GET)
    return JsonResponse(function_choices(access, target, request.GET.get("search", "")))


@page("GET")
def function(request: HttpRequest, function_id: str) -> HttpResponse:
    """Return the labels of a function, and their mapping if the query names a target."""
    access = access_of(request)
    target = start_target(access, request.GET)
    spec = find_function(access, function_id)
    return JsonResponse(function_data(spec, None if target is None else target.task))


@page("GET")
def open_frame(request: HttpRequest, task_id: int, number: int) -> HttpResponse:
    """Redirect to the page of a frame: CVAT's annotation view, or ours."""
    task = task_of_frame(request, task_id, number)
    if is_standalone():
        return redirect(frame_url(task_id, number))
    jobs = [job.id for job in task.jobs if job.type == "annotation" and number in job.frames]
    viewable = access_of(request).viewable_job_ids(jobs)
    for job_id in jobs:
        if job_id in viewable:
            return redirect(cvat_frame_url(task_id, job_id, number))
    return redirect(task_url(task_id))


def visible_task_ids(request: HttpRequest) -> Any:
    """Return the ids of the tasks that the user may view, newest first, for a paginator.

    They are a query if the engine answers one, so that a page reads its own ids only.
    """
    visible: Any = access_of(request).visible_task_ids()
    if isinstance(visible, QuerySet):
        return visible.order_by("-pk").values_list("pk", flat=True)
    return sorted(visible, reverse=True)


def _choose_task(request: HttpRequest) -> HttpResponse:
    shown = Paginator(visible_task_ids(request), TASKS_A_PAGE).get_page(request.GET.get("page"))
    found = get_engine().tasks(list(shown))
    tasks = [found[task_id] for task_id in shown if task_id in found]
    return show(request, "start_tasks.html", {"page": shown, "tasks": tasks})
