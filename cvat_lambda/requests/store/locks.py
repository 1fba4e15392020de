"""Row locks of a request's tasks and shards, taken in the order that `models` describes."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import F

from cvat_lambda.requests.store.models import ScopeGuard, Shard


def lock_tasks(task_ids: set[int]) -> None:
    """Lock tasks until the commit, so that two requests on the same frames cannot both start."""
    rows = [ScopeGuard(task_id=task_id) for task_id in sorted(task_ids)]
    ScopeGuard.objects.bulk_create(rows, ignore_conflicts=True)
    locked = ScopeGuard.objects.select_for_update().filter(task_id__in=task_ids)
    list(locked.order_by("task_id"))


def lock_shards(**condition: Any) -> list[int]:
    """Lock the shards that meet the condition until the commit; return their ids, ascending.

    Call it first in every transaction that touches several shards of a request. Transactions that
    lock shards one by one, each in an order of its own, can deadlock.
    """
    shards = Shard.objects.filter(**condition)
    if not connection.features.has_select_for_update:
        # SQLite has one write lock, and refuses it to a transaction that has read before.
        shards.update(index=F("index"))
    return list(shards.select_for_update().order_by("pk").values_list("pk", flat=True))
