"""A condition on many ids at once, with one parameter, however many they are.

A parameter an id has to be found in the statement's text and to be sent one by one, which costs
more than what the database does with it, and SQLite before 3.32 takes 999 of them.
"""

from __future__ import annotations

from collections.abc import Collection

from django.db import connection
from django.db.models.expressions import RawSQL


def among(ids: Collection[int]) -> RawSQL:
    """The ids as a subquery, for conditions like ``pk__in``."""
    numbers = ",".join(map(str, ids))
    if connection.vendor == "postgresql":
        return RawSQL("SELECT unnest(%s::bigint[])", ["{" + numbers + "}"])
    return RawSQL("SELECT value FROM json_each(%s)", ["[" + numbers + "]"])
