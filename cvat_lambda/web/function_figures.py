"""The recent work of a function: calls and frames a minute, failures and latency."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.db.models import Q
from django.utils import timezone

from cvat_lambda.interactive.caches import get_caches
from cvat_lambda.interactive.call_counts import PERIOD_MIN
from cvat_lambda.observability.invocation_times import (
    InvocationTimes,
    invocation_times,
    percentile,
)
from cvat_lambda.requests.store.models import LIVE, FrameStatus, Outcome, Request

OUTCOMES_READ: Final = 2000  # the newest, for the percentiles


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
    """Return the figures of a function. Only its recent requests are read."""
    since = timezone.now() - timedelta(minutes=PERIOD_MIN)
    recent = Request.objects.filter(
        Q(status__in=LIVE) | Q(ended_at__gte=since), function_id=function_id
    )
    outcomes = Outcome.objects.filter(
        request_id__in=list(recent.order_by("-created_at").values_list("pk", flat=True)[:200]),
        written_at__gte=since,
    ).exclude(status=FrameStatus.SKIPPED)
    newest = outcomes.order_by("-pk").values_list("duration_ms", flat=True)[:OUTCOMES_READ]
    durations = [duration_ms for duration_ms in newest if duration_ms is not None]
    return Figures(
        frames=outcomes.count(),
        failed=outcomes.filter(status=FrameStatus.FAILED).count(),
        calls=get_caches().call_counts.last_hour(function_id),
        p50_ms=percentile(durations, 0.5),
        p95_ms=percentile(durations, 0.95),
        invocations=invocation_times(function_id),
    )
