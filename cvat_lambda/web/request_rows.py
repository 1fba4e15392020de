"""Requests as the templates show them: progress, badge, and the failures by their cause."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from cvat_lambda.requests.control.retry import may_resume, may_retry
from cvat_lambda.requests.store.models import (
    LIVE,
    FrameStatus,
    ObjectKind,
    Provenance,
    Request,
)
from cvat_lambda.requests.store.progress import progress_of
from cvat_lambda.requests.store.queries import outcomes_of
from cvat_lambda.web.badges import badge_of

FAILURES_READ: Final = 5000  # failed frames that are grouped; the others are counted only
FRAMES_SHOWN: Final = 100  # of one group, as links
COUNTED: Final = 1000  # annotations that are counted by kind
THUMBNAILS: Final = 6  # of one group
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")


def rows_of(items: Iterable[Request]) -> list[dict[str, Any]]:
    """Return requests with what the list shows of each; one query for all running ones."""
    found = list(items)
    progress = progress_of(found)
    return [
        {
            "request": item,
            "progress": progress[item.pk],
            "badge": badge_of(item),
            "live": item.status in LIVE,
        }
        for item in found
    ]


@dataclass(kw_only=True)
class Cause:
    """The failed frames of a request that have the same cause."""

    code: str
    message: str  # of the first of them
    frames: list[tuple[int, int]] = field(default_factory=list)  # task and frame
    attempts: int = 0  # invocations of all of them

    @property
    def shown(self) -> list[tuple[int, int]]:
        """Return the frames to list."""
        return self.frames[:FRAMES_SHOWN]

    @property
    def thumbnails(self) -> list[tuple[int, int]]:
        """Return the frames to show as pictures."""
        return self.frames[:THUMBNAILS]

    @property
    def hidden(self) -> int:
        """Return how many frames are not listed."""
        return len(self.frames) - len(self.shown)


def causes_of(request: Request) -> list[Cause]:
    """Return the failed frames by their cause, the most frequent first.

    Messages that differ in numbers only, such as "frame 3: ..." and "frame 4: ...", are one cause.
    """
    causes: dict[tuple[str, str], Cause] = {}
    failed = outcomes_of(request, FrameStatus.FAILED)
    columns = failed.values_list("code", "message", "task_id", "frame", "attempts")
    for code, message, task_id, frame, attempts in columns[:FAILURES_READ]:
        key = (code, _NUMBER.sub("#", message))
        cause = causes.setdefault(key, Cause(code=code, message=message))
        cause.frames.append((task_id, frame))
        cause.attempts += attempts
    return sorted(causes.values(), key=lambda cause: -len(cause.frames))


def actions_of(request: Request) -> dict[str, Any]:
    """Return which actions are possible, and what an undo would remove."""
    added = _added(request)
    live = request.status in LIVE
    return {
        "cancel": live,
        "retry": not live and may_retry(request),
        "resume": not live and may_resume(request),
        "undo": not live and request.undone_at is None and bool(added or request.shapes),
        "missing": request.total - request.done - request.failed - request.skipped,
        "added": added,
    }


def _added(request: Request) -> str:
    """Return what the request added and an undo would remove, "" if nothing is left of it."""
    made = Provenance.objects.filter(request=request).order_by().values_list("kind", flat=True)
    kinds = Counter(made[: COUNTED + 1])
    if kinds.total() > COUNTED:  # the request has their number, which is not counted again
        return f"{max(request.shapes, kinds.total()):,} annotations"
    return " and ".join(
        f"{kinds[kind]:,} {kind if kinds[kind] == 1 else f'{kind}s'}"
        for kind in ObjectKind.values
        if kinds[kind]
    )
