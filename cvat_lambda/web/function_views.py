"""The pages of functions: the list, one function, its log, and a trial on a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect

from cvat_lambda.agents.access import find_function, search_rows, visible_rows
from cvat_lambda.annotations.labels import labels_v2
from cvat_lambda.bounded_paginator import BoundedPaginator
from cvat_lambda.errors import (
    InvalidRequest,
    LambdaError,
    PayloadTooLarge,
    PermissionDenied,
)
from cvat_lambda.functions import registry
from cvat_lambda.functions.models import NUCLIO, Function
from cvat_lambda.gateway.nuclio import platform
from cvat_lambda.gateway.probe import probe
from cvat_lambda.interactive.trial import detect_on_picture
from cvat_lambda.requests.control.access import visible_requests
from cvat_lambda.requests.store.queries import newest
from cvat_lambda.web.function_figures import figures_of
from cvat_lambda.web.overlay import COLORS
from cvat_lambda.web.pages import access_of, page, show
from cvat_lambda.web.request_rows import rows_of

LOG_LINES: Final = 100
FUNCTIONS_A_PAGE: Final = 100
REQUESTS_SHOWN: Final = 10
MAX_PICTURE_BYTES: Final = 32 * 1024 * 1024
CHANGE: Final = "cvat_lambda.change_function"


@page("GET", "POST")
def functions(request: HttpRequest) -> HttpResponse:
    """Show the known functions with their states and problems; POST reads the platform again."""
    if request.method == "POST":
        result = registry.refresh(force=True)
        if result.error:
            messages.error(request, result.error)
        return redirect("console:functions")
    wanted = request.GET.get("search", "").strip()
    rows = search_rows(visible_rows(access_of(request)), wanted)
    shown = BoundedPaginator(rows, FUNCTIONS_A_PAGE).get_page(request.GET.get("page"))
    context = {"page": shown, "functions": shown, "search": wanted}
    return show(request, "functions.html", context)


@page("GET", "POST")
def function_detail(request: HttpRequest, function_id: str) -> HttpResponse:
    """Show one function; POST checks, enables, disables or redeploys it."""
    row = _row(request, function_id)
    problem: LambdaError | None = None
    if request.method == "POST":
        try:
            messages.success(request, _act(request, row))
            return redirect("console:function", function_id=function_id)
        except LambdaError as exc:
            problem = exc
    try:
        spec = registry.spec_of(row)
    except LambdaError:
        spec = None
    mine = visible_requests(access_of(request)).filter(function_id=row.pk)
    may_change = _may_change(request)
    context = {
        "function": row,
        "spec": spec,
        "figures": figures_of(row.pk),
        "requests": rows_of(newest(mine, REQUESTS_SHOWN)),
        "may_change": may_change,
        "may_redeploy": may_change and row.platform == NUCLIO,
        "problem": problem,
        "trial": None if spec is None or spec.is_native else _trial(spec),
    }
    status = problem.status_code if problem is not None else 200
    return show(request, "function.html", context, status=status)


@page("GET")
def function_log(request: HttpRequest, function_id: str) -> HttpResponse:
    """Answer the last lines of a function's log, to those who may change functions."""
    row = _row(request, function_id)
    if not _may_change(request):
        raise PermissionDenied("only administrators may read the log of a function")
    lines, problem = "", ""
    try:
        for replica in platform().replicas(row.pk):
            lines += platform().logs(row.pk, replica=replica, lines=LOG_LINES)
    except LambdaError as exc:
        problem = exc.message
    context = {"function": row, "lines": lines, "log_problem": problem}
    return show(request, "_log.html", context)


@page("POST")
def function_trial(request: HttpRequest, function_id: str) -> HttpResponse:
    """Call a detector with a picture of the user, and return what it found as JSON."""
    try:
        found = _try(request, function_id)
    except LambdaError as exc:
        return JsonResponse(exc.to_json(), status=exc.status_code)
    return JsonResponse(found)


def _try(request: HttpRequest, function_id: str) -> dict[str, Any]:
    spec = find_function(access_of(request), function_id, ask=registry.Ask.IF_NOT_READY)
    picture = request.FILES.get("picture")
    if picture is None:
        raise InvalidRequest("choose a picture first")
    if (picture.size or 0) > MAX_PICTURE_BYTES:
        raise PayloadTooLarge(f"the picture is larger than {MAX_PICTURE_BYTES >> 20} MiB")
    return detect_on_picture(spec, picture.read(), threshold=0.0)


def _row(request: HttpRequest, function_id: str) -> Function:
    row = visible_rows(access_of(request)).filter(pk=function_id.replace("\x00", "")).first()
    if row is None:
        raise Http404(f"Function '{function_id}' was not found.")
    return row


def _may_change(request: HttpRequest) -> bool:
    """Return whether the user is an administrator, also by CVAT's group, or has the permission."""
    return access_of(request).sees_everything or request.user.has_perm(CHANGE)


def _trial(spec: Any) -> dict[str, Any]:
    """Return what `try.js` needs: the labels with the ids of `detect_on_picture`."""
    ids, labels = 1, []
    for place, label in enumerate(labels_v2(spec.labels)):
        labels.append({**label, "id": ids, "color": COLORS[place % len(COLORS)]})
        ids += 1 + len(label["attributes"])
        for sublabel in label.get("sublabels", ()):
            sublabel["id"] = ids
            ids += 1 + len(sublabel["attributes"])
    return {"labels": labels, "kind": spec.kind.value}


def _act(request: HttpRequest, row: Function) -> str:
    """Carry out the action; return a sentence. Raise LambdaError."""
    action = ACTIONS.get(request.POST.get("action", ""))
    if action is None:
        raise InvalidRequest(f"the action must be {', '.join(ACTIONS)}")
    if not _may_change(request):
        raise PermissionDenied("only administrators may change functions")
    return action(row)


def _check(row: Function) -> str:
    result = probe(registry.spec_of(row))
    return f"The function works: {result.summary} in {result.duration_s:.2f} s."


def _enable(row: Function) -> str:
    row.enabled = True
    row.save(update_fields=["enabled"])
    return "The function is offered again."


def _disable(row: Function) -> str:
    row.enabled = False
    row.save(update_fields=["enabled"])
    return "The function is switched off: it is not listed and cannot be called."


def _redeploy(row: Function) -> str:
    found = platform().function(row.pk)
    platform().deploy({name: found[name] for name in ("metadata", "spec") if name in found})
    return "The function is being deployed again."


ACTIONS: Final[Mapping[str, Callable[[Function], str]]] = {
    "check": _check,
    "enable": _enable,
    "disable": _disable,
    "redeploy": _redeploy,
}
