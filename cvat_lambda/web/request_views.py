"""The pages of requests: the list, one request, its live part, and its outcomes as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from django.core.handlers.asgi import ASGIRequest
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode

from cvat_lambda.agents.access import visible_rows
from cvat_lambda.bounded_paginator import BoundedPaginator, KeysPaginator
from cvat_lambda.errors import InvalidRequest, LambdaError
from cvat_lambda.requests.control.access import (
    find_request,
    may_edit,
    require_functions,
    visible_requests,
)
from cvat_lambda.requests.control.cancel import cancel_request
from cvat_lambda.requests.control.retry import resume_request, retry_request
from cvat_lambda.requests.control.undo import undo_request
from cvat_lambda.requests.store.jit import without_jit
from cvat_lambda.requests.store.models import FrameStatus, Request
from cvat_lambda.requests.store.notes import notes_to_json
from cvat_lambda.requests.store.progress import progress_of, summary_of
from cvat_lambda.requests.store.queries import outcomes_of
from cvat_lambda.web import outcome_files
from cvat_lambda.web.badges import badge_of
from cvat_lambda.web.pages import access_of, page, request_of, require, show
from cvat_lambda.web.request_filters import PERIODS, STATES, filtered, is_filtered
from cvat_lambda.web.request_rows import actions_of, causes_of, rows_of

REQUESTS_A_PAGE: Final = 50
FAILURES_IN_JSON: Final = 50
SUGGESTED: Final = 200  # functions that the filter suggests; people can type any other
ACTIONS: Final[Mapping[str, Callable[[Request, int], Any]]] = {
    "cancel": lambda found, user_id: cancel_request(found, user_id=user_id),
    "resume": lambda found, user_id: resume_request(found),
    "retry": lambda found, user_id: retry_request(found),
    "undo": lambda found, user_id: undo_request(found, user_id=user_id),
}
# The names by which CVAT's rules know them.
API_ACTIONS: Final = {"cancel": "destroy", "resume": "resume", "retry": "retry", "undo": "undo"}


@page("GET")
def requests(request: HttpRequest) -> HttpResponse:
    """Show the requests that the user may view, newest first; ``part=rows`` only the rows."""
    visible = visible_requests(access_of(request))
    found = filtered(visible, request.GET).order_by("-created_at")
    number = request.GET.get("page")
    # PostgreSQL takes long for the conditions of the user's rights. SQLite counts them faster than
    # it finds the newest 1,000 of them.
    if visible.query.has_filters() and connection.vendor == "postgresql":
        whole = Request.objects.select_related("owner").order_by("-created_at")
        with without_jit():
            shown = KeysPaginator(found, REQUESTS_A_PAGE, whole=whole).get_page(number)
    else:
        shown = BoundedPaginator(found.select_related("owner"), REQUESTS_A_PAGE).get_page(number)
    context = {
        "page": shown,
        "requests": rows_of(shown),
        "filters": request.GET,
        "states": STATES.items(),
        "periods": PERIODS.items(),
        "functions": visible_rows(access_of(request)).values_list("pk", flat=True)[:SUGGESTED],
        "filtered": is_filtered(request.GET),
        "with_owner": True,
        "rows_url": f"{request.path}?{_query(request, part='rows')}",
    }
    is_part = request.GET.get("part") == "rows"
    return show(request, "_requests.html" if is_part else "requests.html", context)


@page("GET", "POST")
def request_detail(request: HttpRequest, request_id: str) -> HttpResponse:
    """Show a request; POST cancels, resumes, retries or undoes it."""
    found = request_of(request, request_id)
    problem: LambdaError | None = None
    if request.method == "POST":
        try:
            _act(request, found)
            return redirect("console:request", request_id=request_id)
        except LambdaError as exc:
            problem = exc
            found.refresh_from_db()
    context = {
        **_live_context(found),
        "causes": causes_of(found),
        "may_edit": may_edit(access_of(request), found),
        "actions": actions_of(found),
        "shards": found.shards.order_by("index")[:20],
        "notes": notes_to_json(found.notes),
        "summary": summary_of(found),
        "problem": problem,
    }
    status = problem.status_code if problem is not None else 200
    return show(request, "request.html", context, status=status)


@page("GET")
def request_live(request: HttpRequest, request_id: str) -> HttpResponse:
    """Answer the progress of a live request for `htmx`.

    The page names the state that it shows. If the state has changed, the browser opens the page
    again; if more frames have failed, it loads the table of failures.
    """
    found = request_of(request, request_id)
    response = show(request, "_live.html", _live_context(found))
    if request.GET.get("status") != found.status:
        response.headers["HX-Redirect"] = reverse("console:request", args=[request_id])
    elif request.GET.get("failed") != str(found.failed):
        response.headers["HX-Trigger"] = "failures"
    return response


@page("GET")
def request_failures(request: HttpRequest, request_id: str) -> HttpResponse:
    """Answer the failures of a request for `htmx`."""
    found = request_of(request, request_id)
    return show(request, "_failures.html", {"causes": causes_of(found), **_live_context(found)})


@page("GET")
def request_progress(request: HttpRequest, request_id: str) -> HttpResponse:
    """Return the progress of a request as JSON."""
    found = request_of(request, request_id)
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
                for outcome in outcomes_of(found, FrameStatus.FAILED)[:FAILURES_IN_JSON]
            ],
        }
    )


@page("GET")
def outcomes_csv(request: HttpRequest, request_id: str) -> StreamingHttpResponse:
    """Return the outcomes of a request as CSV."""
    found = request_of(request, request_id)
    return outcome_files.as_csv(found, is_async=isinstance(request, ASGIRequest))


@page("GET")
def outcomes_json(request: HttpRequest, request_id: str) -> StreamingHttpResponse:
    """Return the outcomes of a request as JSON."""
    found = request_of(request, request_id)
    return outcome_files.as_json(found, is_async=isinstance(request, ASGIRequest))


def _act(request: HttpRequest, found: Request) -> None:
    access = access_of(request)
    find_request(access, found.pk, "edit")
    action = ACTIONS.get(request.POST.get("action", ""))
    if action is None:
        raise InvalidRequest("the action must be cancel, resume, retry or undo")
    require(request, API_ACTIONS[request.POST["action"]], found.pk)
    if request.POST["action"] in ("resume", "retry"):
        require_functions(access, found)
    action(found, access.user_id)


def _live_context(found: Request) -> dict[str, Any]:
    query = urlencode({"status": str(found.status), "failed": str(found.failed)})
    url = reverse("console:request-live", args=[found.pk])
    return {"row": rows_of([found])[0], "live_url": f"{url}?{query}"}


def _query(request: HttpRequest, **changes: str) -> str:
    query = request.GET.copy()
    for name, value in changes.items():
        query[name] = value
    return query.urlencode()
