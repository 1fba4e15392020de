"""A subquery that selects given ids with a single query parameter.

One parameter per id is slow to send, and SQLite before 3.32 allows 999 parameters per statement.
"""

from __future__ import annotations

from collections.abc import Collection

from django.db import connection
from django.db.models.expressions import RawSQL


def ids_subquery(ids: Collection[int]) -> RawSQL:
    """Return the ids as a subquery for conditions like ``pk__in``."""
    numbers = ",".join(map(str, ids))
    if connection.vendor == "postgresql":
        return RawSQL("SELECT unnest(%s::bigint[])", ["{" + numbers + "}"])
    return RawSQL("SELECT value FROM json_each(%s)", ["[" + numbers + "]"])
