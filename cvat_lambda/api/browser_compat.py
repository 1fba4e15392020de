"""Answers for browsers that differ from those for programs, because CVAT's pages (2.54) need them.

Two more such rules are in `functions.describe` (a name that tells the state) and in
`interactive.tracker` (a rectangle without area in place of null).
"""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request as HttpRequest

from cvat_lambda.api.render import request_to_json
from cvat_lambda.requests.store.models import Request, Status


def is_browser(request: HttpRequest) -> bool:
    """Return whether a browser asks: all send this prefix, and the SDK and scripts do not."""
    return str(request.headers.get("User-Agent", "")).startswith("Mozilla/")


def request_for_browser(found: Request) -> dict[str, Any]:
    """Return a request as JSON for CVAT's page.

    A queued request is shown as started: the page polls a started request every 10 s, and a queued
    one every 30 s, although a worker takes it within a second. A cancelled request is shown as
    failed: the page reports every state that it does not know as a success. A finished request
    with failed frames is shown as failed, with the reason: the page shows no counts.
    """
    shown = request_to_json(found)
    if found.status == Status.QUEUED:
        shown.update(status=Status.STARTED, progress=shown["progress"] or 0)
    elif found.status == Status.CANCELLED:
        shown.update(status=Status.FAILED, exc_info="The request was cancelled.")
    elif found.status == Status.FINISHED and found.failed:
        shown.update(status=Status.FAILED, exc_info=_failures(found, shown["errors"]))
    return shown


def _failures(found: Request, errors: list[dict[str, Any]]) -> str:
    first = f" The first: frame {errors[0]['frame']}, {errors[0]['message']}" if errors else ""
    return (
        f"{found.failed} of {found.total} frames failed."
        f" The annotations of the other frames are saved.{first}"
    )
