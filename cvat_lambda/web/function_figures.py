"""The recent work of a function: calls and frames a minute, failures and latency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count
from django.utils import timezone

from cvat_lambda.interactive.caches import get_caches
from cvat_lambda.interactive.call_counts import PERIOD_MIN
from cvat_lambda.observability.invocation_times import (
    InvocationTimes,
    invocation_times,
    percentile,
)
from cvat_lambda.requests.store.models import LIVE, FrameStatus, Outcome, Request

REQUESTS_READ: Final = 1000  # the newest
REQUESTS_TIMED: Final = 5  # the newest, for the percentiles
OUTCOMES_READ: Final = 2000  # the last ones, for the percentiles
_TIMES: Final = ("created_at", "started_at", "ended_at")
_COLUMNS: Final = ("status", *_TIMES, "done", "done_before", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a function did for requests within the last hour, and for all callers."""

    frames: int
    failed: int
    calls: int | None  # of people; None: not known, because Redis does not answer
    p50_ms: float | None
    p95_ms: float | None
    invocations: InvocationTimes | None  # since the server was started

    @property
    def per_minute(self) -> float:
        """Return frames a minute of the last hour."""
        return self.frames / PERIOD_MIN

    @property
    def calls_per_minute(self) -> float | None:
        """Return calls a minute of the last hour."""
        return None if self.calls is None else self.calls / PERIOD_MIN


def figures_of(function_id: str) -> Figures:
    """Return the figures of a function. Only its newest requests are read."""
    since = timezone.now() - timedelta(minutes=PERIOD_MIN)
    newest = Request.objects.filter(function_id=function_id).order_by("-created_at")
    recent = [
        request
        for request in newest.only(*_COLUMNS)[:REQUESTS_READ]
        if request.status in LIVE or (request.ended_at is not None and request.ended_at >= since)
    ]
    counts = _counts(recent, since)
    durations = _durations([request.pk for request in recent[:REQUESTS_TIMED]], since)
    return Figures(
        frames=counts[FrameStatus.DONE] + counts[FrameStatus.FAILED],
        failed=counts[FrameStatus.FAILED],
        calls=get_caches().call_counts.last_hour(function_id),
        p50_ms=percentile(durations, 0.5),
        p95_ms=percentile(durations, 0.95),
        invocations=invocation_times(function_id),
    )


def _counts(requests: Sequence[Request], since: datetime) -> Counter[str]:
    """Return the number of frames since then by their outcome.

    Outcomes are counted only of requests that may have older ones. The others have their counts.
    """
    counts: Counter[str] = Counter()
    older = []
    for request in requests:
        begun_at = request.started_at or request.created_at
        # A resumed request has a new start, and the counts of its first run.
        may_be_resumed = request.created_at < since and (request.done_before or request.failed)
        if begun_at < since or may_be_resumed:
            older.append(request.pk)
        else:
            counts[FrameStatus.DONE] += request.done
            counts[FrameStatus.FAILED] += request.failed
    outcomes = Outcome.objects.filter(request_id__in=older, written_at__gte=since)
    counts.update(dict(outcomes.order_by().values_list("status").annotate(Count("pk"))))
    return counts


def _durations(request_ids: Sequence[str], since: datetime) -> list[int]:
    """Return durations of the last frames of requests.

    The database reads each request's outcomes from the end of an index. It would read all outcomes
    of other functions to find the newest ones of several requests at once.
    """
    durations: list[int] = []
    for request_id in request_ids:
        last = Outcome.objects.filter(request_id=request_id, written_at__gte=since)
        last = last.order_by("-request_id", "-task_id", "-frame", "-id")
        values = last.values_list("status", "duration_ms")[: OUTCOMES_READ - len(durations)]
        durations += [
            duration_ms
            for status, duration_ms in values
            if status != FrameStatus.SKIPPED and duration_ms is not None
        ]
        if len(durations) >= OUTCOMES_READ:
            break
    return durations
