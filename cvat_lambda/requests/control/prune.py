"""Delete old requests, and keep the provenance of annotations that still exist."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import AnnotationKind, Engine
from cvat_lambda.requests.store.bulk_rows import id_chunks
from cvat_lambda.requests.store.locks import lock_shards
from cvat_lambda.requests.store.models import (
    ENDED,
    MergedRectangle,
    ObjectKind,
    Outcome,
    Provenance,
    Request,
)

REQUESTS_A_TIME = 10  # PostgreSQL scans the table of outcomes to delete those of 50
ROWS_A_TIME = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """How many rows were deleted."""

    requests: int = 0
    outcomes: int = 0  # outcomes of requests that are kept for their provenance
    provenance: int = 0  # provenance of annotations that were deleted


def prune(days: int) -> Pruned:
    """Delete requests that ended more than ``days`` days ago, unless their annotations still exist.

    The outcomes of a request that is kept are deleted: it can be undone, but not retried.
    """
    limit = timezone.now() - timedelta(days=days)
    old = Request.objects.filter(status__in=ENDED, ended_at__lt=limit)
    vanished = _delete_stale_provenance(get_engine(), old)
    requests = _delete_requests(old)
    return Pruned(requests=requests, outcomes=_delete_outcomes(old), provenance=vanished)


def _delete_requests(old: QuerySet[Request]) -> int:
    made = Provenance.objects.filter(request=OuterRef("pk"))
    gone = old.filter(~Exists(made))
    # Read once: PostgreSQL would look at all rows that were deleted so far for each next part.
    every = list(gone.values_list("pk", flat=True))
    deleted = 0
    for start in range(0, len(every), REQUESTS_A_TIME):
        ids = every[start : start + REQUESTS_A_TIME]
        with transaction.atomic():
            lock_shards(request_id__in=ids)
            still = list(
                gone.filter(pk__in=ids).values_list("pk", flat=True)
            )  # requests that were retried meanwhile are left out
            Request.objects.filter(pk__in=still).delete()
        deleted += len(still)
    return deleted


def _delete_outcomes(old: QuerySet[Request]) -> int:
    # Marked first: a retry without the outcomes would run all frames again.
    old.filter(outcomes_pruned_at=None).update(outcomes_pruned_at=timezone.now())
    marked = old.filter(
        Exists(Outcome.objects.filter(request=OuterRef("pk"))), outcomes_pruned_at__isnull=False
    )
    deleted = 0
    for request_id in list(marked.values_list("pk", flat=True)):
        deleted += Outcome.objects.filter(request_id=request_id).delete()[0]
    return deleted


def _delete_stale_provenance(engine: Engine, old: QuerySet[Request]) -> int:
    """Delete the provenance of annotations that people or the engine have deleted."""
    existing = engine.task_ids()
    MergedRectangle.objects.filter(request__in=old).exclude(task_id__in=existing).delete()
    gone, _ = Provenance.objects.filter(request__in=old).exclude(task_id__in=existing).delete()
    made = Provenance.objects.filter(request=OuterRef("pk"))
    for request_id in list(old.filter(Exists(made)).values_list("pk", flat=True)):
        last = 0
        rows = Provenance.objects.filter(request_id=request_id).order_by("pk")
        while some := list(
            rows.filter(pk__gt=last).values_list("pk", "kind", "object_id")[:ROWS_A_TIME]
        ):
            last = some[-1][0]
            gone += _delete_provenance_of_missing(engine, some)
    return gone


def _delete_provenance_of_missing(engine: Engine, rows: list[tuple[int, str, int]]) -> int:
    by_kind: dict[str, dict[int, int]] = defaultdict(dict)
    for pk, kind, object_id in rows:
        by_kind[kind][object_id] = pk
    gone = 0
    for kind, found in by_kind.items():
        missing = set(found) - engine.existing_ids(cast(AnnotationKind, kind), found)
        for ids in id_chunks(missing):
            if kind == ObjectKind.SHAPE:  # an undo restores merged rectangles
                kept = MergedRectangle.objects.filter(shape_id__in=ids).values_list(
                    "shape_id", flat=True
                )
                ids = sorted(set(ids) - set(kept))
            # Select by both ids: an undo may have given the row another object meanwhile.
            rows_of = [found[object_id] for object_id in ids]
            gone += Provenance.objects.filter(pk__in=rows_of, object_id__in=ids).delete()[0]
    return gone
