"""Old requests go; what their annotations came from stays known as long as these are there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Exists, OuterRef
from django.utils import timezone

from cvat_lambda.functions.spec import Kind
from cvat_lambda.requests.models import ENDED, Outcome, Provenance, Request

REQUESTS_A_TIME = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What went."""

    requests: int = 0
    outcomes: int = 0  # of requests that stay, for the sake of their provenance


def prune(days: int) -> Pruned:
    """Delete ended requests that are older, except that provenance keeps its request.

    Of those that stay, the frames' outcomes go (a ReID request needs them for its undo).
    """
    limit = timezone.now() - timedelta(days=days)
    old = Request.objects.filter(status__in=ENDED, ended_at__lt=limit)
    made = Provenance.objects.filter(request=OuterRef("pk"))
    deleted = 0
    while ids := list(old.filter(~Exists(made)).values_list("pk", flat=True)[:REQUESTS_A_TIME]):
        Request.objects.filter(pk__in=ids).delete()
        deleted += len(ids)
    kept = old.exclude(function_kind=Kind.REID.value)
    outcomes, _ = Outcome.objects.filter(request__in=kept).delete()
    return Pruned(requests=deleted, outcomes=outcomes)
