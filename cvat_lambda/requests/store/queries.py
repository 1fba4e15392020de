"""Queries that the API and the pages share: lists of requests, outcomes and provenance."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from operator import attrgetter
from typing import Any, Final

from django.db.models import JSONField, OuterRef, Q, QuerySet, Subquery

from cvat_lambda.requests.store.bulk_rows import id_chunks
from cvat_lambda.requests.store.models import (
    LIVE,
    FrameStatus,
    ObjectKind,
    Outcome,
    Provenance,
    Request,
    Shard,
)


def on_task(requests: QuerySet[Request], task_id: int) -> QuerySet[Request]:
    """Return those of the requests whose scope includes the task."""
    on_it = Shard.objects.filter(task_id=task_id).order_by()
    return requests.filter(pk__in=on_it.values("request_id"))


def newest(requests: QuerySet[Request], limit: int) -> list[Request]:
    """Return the newest of the requests."""
    few = at_most(requests, limit)
    return list(requests.order_by("-created_at")[:limit]) if few is None else few


def at_most(requests: QuerySet[Request], limit: int) -> list[Request] | None:
    """Return the requests, newest first, or None if there are more than ``limit``.

    Without an order, the database need not read requests that are not among these by their age.
    """
    first = list(requests.order_by().values_list("pk", flat=True)[: limit + 1])
    if len(first) > limit:
        return None
    return sorted(Request.objects.filter(pk__in=first).order_by(), key=_age)


def most_relevant(
    requests: QuerySet[Request], user_id: int, limit: int, *, status: str | None = None
) -> list[Request]:
    """Return the requests to list for a user, of one status if it is given, newest first.

    If there are more than ``limit``, live requests come before ended ones, then the user's own
    before those of others, then newer before older.
    """
    if status is not None:
        requests = requests.filter(status=status)
    few = at_most(requests, limit)
    if few is not None:
        return few
    # Each of these queries reads an index in order; one ORDER BY over the ranks would sort all, and
    # so would SQLite for two states in one query.
    in_order = requests.order_by("-created_at")
    own = Q(owner_id=user_id)
    ranks = [[own], [~own]]
    if status is None:
        ended = ~Q(status__in=LIVE)
        ranks = [[Q(status=one) & whose for one in LIVE] for whose in (own, ~own)]
        ranks += [[own & ended], [~own & ended]]
    found: list[Request] = []
    for rank in ranks:
        some = [row for wanted in rank for row in in_order.filter(wanted)[: limit - len(found)]]
        found += sorted(some, key=_age)[: limit - len(found)]
        if len(found) == limit:
            break
    return sorted(found, key=_age)


def _age(request: Request) -> float:
    return -request.created_at.timestamp()


def outcomes_of(request: Request, status: str | None = None) -> QuerySet[Outcome]:
    """Return the outcomes of a request by task and frame, of one status if it is given."""
    found = Outcome.objects.filter(request=request)
    if status is not None:
        found = found.filter(status=status)
    return found.select_related("version").order_by("task_id", "frame", "id")


class FirstIds(Subquery):
    """The ids that a sliced query selects, as a JSON array or an array of the database."""

    output_field = JSONField()

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, "to_jsonb(ARRAY(%(subquery)s))", **extra)

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        template = "(SELECT json_group_array(one.id) FROM (%(subquery)s) one)"
        return self.as_sql(compiler, connection, template, **extra)


_OF_FAILURE: Final = ("request_id", "task_id", "frame", "code", "message")


def first_failures(request_ids: Collection[str], limit: int) -> Mapping[str, list[Outcome]]:
    """Return the first failed frames of each request, at most ``limit`` each.

    No more rows are read than are returned, however many frames failed.
    """
    found: dict[str, list[Outcome]] = {}
    if not request_ids:
        return found
    order = ("task_id", "frame", "id")
    failed = Outcome.objects.filter(request=OuterRef("pk"), status=FrameStatus.FAILED)
    first = FirstIds(failed.order_by(*order).values("id")[:limit])
    requests = Request.objects.filter(pk__in=request_ids).order_by()
    ids = [pk for (few,) in requests.annotate(few=first).values_list("few") for pk in few]
    for some in id_chunks(ids):
        for outcome in Outcome.objects.filter(pk__in=some).only(*_OF_FAILURE):
            found.setdefault(outcome.request_id, []).append(outcome)
    return {request_id: sorted(few, key=attrgetter(*order)) for request_id, few in found.items()}


def provenance_of(
    task_id: int, kind: ObjectKind, object_ids: Collection[int | None]
) -> dict[int, Provenance]:
    """Return which requests added the given annotations of a task, by id of the annotation."""
    ids = [object_id for object_id in object_ids if object_id is not None]
    made = Provenance.objects.filter(task_id=task_id, kind=kind, object_id__in=ids)
    return {row.object_id: row for row in made.select_related("request", "version")}
