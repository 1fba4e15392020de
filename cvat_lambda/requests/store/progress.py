"""Progress, rate and remaining time of requests, from the counts that their batches wrote."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Sum

from cvat_lambda.requests.store.models import Request, Shard, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of one request."""

    ended: int  # frames done, failed or skipped
    percent: int | None  # 0..100; None while it is queued
    # Frames a second of all its workers: the recent rate while it runs, the mean after its end.
    rate: float | None
    eta_s: float | None  # seconds until its end at that rate


def progress_of(requests: Iterable[Request]) -> dict[str, Progress]:
    """Return the progress of each request by its id, with one query for all running ones."""
    found = list(requests)
    running = [request.pk for request in found if request.status == Status.STARTED]
    rates: dict[str, float] = {}
    if running:
        live = Shard.objects.filter(request_id__in=running, status=Status.STARTED, rate__gt=0)
        rates = dict(live.order_by().values_list("request_id").annotate(Sum("rate")))
    return {request.pk: _progress(request, rates.get(request.pk)) for request in found}


def summary_of(request: Request) -> str:
    """Return the progress of a request as a sentence: "finished, but 3 of 100 frames failed"."""
    if request.undone_at is not None:
        return f"{request.status}, then undone"
    if request.undoing_at is not None:
        return f"{request.status}, now being undone"
    if request.failed and request.status == Status.FINISHED:
        return f"finished, but {request.failed} of {request.total} frames failed"
    if request.failed:
        return f"{request.status}, {request.failed} of {request.total} frames failed"
    if request.status == Status.FINISHED and not request.shapes and request.dropped:
        return f"finished without annotations: {request.dropped} items of the answers were left out"
    return str(request.status)


def _progress(request: Request, rate: float | None) -> Progress:
    settled = request.done + request.failed + request.skipped
    percent: int | None = None
    if request.status == Status.FINISHED:
        percent = 100
    elif request.status != Status.QUEUED or settled:
        percent = 100 * settled // max(1, request.total)
    mean = _mean_rate(request) if rate is None else rate
    return Progress(
        ended=settled,
        percent=percent,
        rate=None if mean is None else round(mean, 3),
        eta_s=None if not rate else round(max(0, request.total - settled) / rate, 1),
    )


def _mean_rate(request: Request) -> float | None:
    """Return the frames of the latest run over its time, including pauses before a resume."""
    if request.started_at is None or request.ended_at is None:
        return None
    wall_s = (request.ended_at - request.started_at).total_seconds()
    return (request.done - request.done_before + request.failed) / wall_s if wall_s > 0 else None
