"""Rows that a transaction holds before all others, in the one order that `models` describes."""

from __future__ import annotations

from typing import Any

from cvat_lambda.requests.models import Shard


def lock_shards(**condition: Any) -> list[int]:
    """Hold the shards that fit the condition until the commit; their ids, ascending.

    First statement of every transaction that touches several shards of a request: whoever locks
    them one by one, in the order of need, can wait for somebody who waits in turn.
    """
    rows = Shard.objects.select_for_update().filter(**condition).order_by("pk")
    return list(rows.values_list("pk", flat=True))
