"""Rows that a transaction holds before all others, in the one order that `models` describes."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import F

from cvat_lambda.requests.store.models import Shard


def lock_shards(**condition: Any) -> list[int]:
    """Hold the shards that fit the condition until the commit; their ids, ascending.

    First statement of every transaction that touches several shards of a request: whoever locks
    them one by one, in the order of need, can wait for somebody who waits in turn.
    """
    shards = Shard.objects.filter(**condition)
    if not connection.features.has_select_for_update:
        # SQLite has one lock, which a transaction that has read before may not get any more.
        shards.update(index=F("index"))
    return list(shards.select_for_update().order_by("pk").values_list("pk", flat=True))
