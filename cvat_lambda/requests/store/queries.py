"""Queries that the API and the pages share: lists of requests, outcomes and provenance."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from django.db.models import F, Q, QuerySet, Window
from django.db.models.functions import RowNumber

from cvat_lambda.requests.store.models import (
    LIVE,
    FrameStatus,
    ObjectKind,
    Outcome,
    Provenance,
    Request,
)


def on_task(requests: QuerySet[Request], task_id: int) -> QuerySet[Request]:
    """Return those of the requests whose scope includes the task."""
    return requests.filter(shards__task_id=task_id).distinct()


def most_relevant(requests: QuerySet[Request], user_id: int, limit: int) -> list[Request]:
    """Return the requests to list for a user, newest first.

    If there are more than ``limit``, live requests come before ended ones, then the user's own
    before those of others, then newer before older.
    """
    newest = requests.order_by("-created_at")
    found = list(newest[: limit + 1])
    if len(found) > limit:
        # Each of these queries reads an index in order; one ORDER BY over the ranks would sort all.
        live, own = Q(status__in=LIVE), Q(owner_id=user_id)
        found = []
        for wanted in (live & own, live & ~own, own & ~live, ~own & ~live):
            found += newest.filter(wanted)[: limit - len(found)]
            if len(found) == limit:
                break
    return sorted(found, key=lambda request: request.created_at, reverse=True)


def outcomes_of(request: Request, status: str | None = None) -> QuerySet[Outcome]:
    """Return the outcomes of a request by task and frame, of one status if it is given."""
    found = Outcome.objects.filter(request=request)
    if status is not None:
        found = found.filter(status=status)
    return found.select_related("version").order_by("task_id", "frame", "id")


def first_failures(request_ids: Collection[str], limit: int) -> Mapping[str, list[Outcome]]:
    """Return the first failed frames of each request, at most ``limit`` each."""
    found: dict[str, list[Outcome]] = {}
    if not request_ids:
        return found
    place = Window(RowNumber(), partition_by=F("request_id"), order_by=[F("task_id"), F("frame")])
    failed = Outcome.objects.filter(request_id__in=request_ids, status=FrameStatus.FAILED)
    for outcome in failed.annotate(place=place).filter(place__lte=limit):
        found.setdefault(outcome.request_id, []).append(outcome)
    return found


def provenance_of(
    task_id: int, kind: ObjectKind, object_ids: Collection[int | None]
) -> dict[int, Provenance]:
    """Return which requests added the given annotations of a task, by id of the annotation."""
    ids = [object_id for object_id in object_ids if object_id is not None]
    made = Provenance.objects.filter(task_id=task_id, kind=kind, object_id__in=ids)
    return {row.object_id: row for row in made.select_related("request", "version")}
