"""Renders requests and outcomes as JSON of the API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cvat_lambda.requests.store.models import Outcome, Request, Status
from cvat_lambda.requests.store.notes import notes_to_json
from cvat_lambda.requests.store.progress import Progress, progress_of, summary_of
from cvat_lambda.requests.store.queries import first_failures

_PROMPTS = ("text", "exemplars", "labels", "replace_labels")  # shown if they were given
ERRORS_SHOWN = 10  # failed frames shown with a request; all are at its ``outcomes``


def requests_to_json(requests: Iterable[Request]) -> list[dict[str, Any]]:
    """Return requests as JSON, by three queries for any number."""
    rows = list(requests)
    failures = first_failures([row.id for row in rows if row.failed], ERRORS_SHOWN)
    errors = {
        request_id: [_error_to_json(outcome) for outcome in outcomes]
        for request_id, outcomes in failures.items()
    }
    progress = progress_of(rows)
    return [_request_to_json(row, errors.get(row.id, []), progress[row.id]) for row in rows]


def request_to_json(request: Request) -> dict[str, Any]:
    """Return a request as JSON."""
    return requests_to_json([request])[0]


def outcome_to_json(outcome: Outcome) -> dict[str, Any]:
    """Return the outcome of one frame as JSON."""
    return {
        **_error_to_json(outcome),
        "status": outcome.status,
        "attempts": outcome.attempts,
        "duration_ms": outcome.duration_ms,
        "shapes": outcome.shapes,
        "notes": notes_to_json(outcome.notes),
        "version": None if outcome.version is None else outcome.version.version,
        "revision": None if outcome.version is None else outcome.version.revision,
    }


def _request_to_json(
    request: Request, errors: list[dict[str, Any]], progress: Progress
) -> dict[str, Any]:
    function: dict[str, Any] = {
        "id": request.function_id,
        "task": request.task_id,
        "threshold": request.params.get("threshold"),
    }
    if request.job_id is not None:
        function["job"] = request.job_id
    if request.params.get("roi") is not None:
        function["roi"] = request.params["roi"]
    for name in _PROMPTS:
        if request.params.get(name) is not None:
            function[name] = request.params[name]
    return {
        "id": request.id,
        "function": function,
        "status": request.status,
        "progress": progress.percent,
        "enqueued": request.created_at,
        "started": request.started_at,
        "ended": request.ended_at,
        "exc_info": request.error_message or None if request.status == Status.FAILED else None,
        "owner": request.owner_id,
        "version": request.function_version,
        "revision": request.function_revision,
        "summary": summary_of(request),
        "total": request.total,
        "done": request.done,
        "failed": request.failed,
        "skipped": request.skipped,
        "shapes": request.shapes,
        "rate": progress.rate,
        "eta_s": progress.eta_s,
        "dropped": request.dropped,
        "notes": notes_to_json(request.notes),
        "revisions": [
            {"version": version, "revision": revision} for version, revision in request.revisions
        ],
        "undoing": request.undoing_at,
        "undone": request.undone_at,
        "errors": errors,
    }


def _error_to_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "task": outcome.task_id,
        "frame": outcome.frame,
        "code": outcome.code,
        "message": outcome.message,
    }
