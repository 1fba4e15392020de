"""A subquery that selects given ids with a single query parameter.

One parameter per id is slow to send, and SQLite before 3.32 allows 999 parameters per statement.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db import connection
from django.db.models import BigIntegerField, Lookup, Q
from django.db.models.expressions import RawSQL


def ids_subquery(ids: Collection[int]) -> RawSQL:
    """Return the ids as a subquery for conditions like ``pk__in``."""
    numbers = ",".join(map(str, ids))
    if connection.vendor == "postgresql":
        return RawSQL("SELECT unnest(%s::bigint[])", ["{" + numbers + "}"])
    return RawSQL("SELECT value FROM json_each(%s)", ["[" + numbers + "]"])


def among(column: str, ids: Any) -> Q:
    """Return the condition that a column of a query has one of the ids: a list or a subquery."""
    return Q(**{f"{column}__{_AnyOf.lookup_name if isinstance(ids, list) else 'in'}": ids})


@BigIntegerField.register_lookup
class _AnyOf(Lookup):
    """The condition ``column__any_of=ids``, with the ids as one parameter.

    Unlike a subquery, it tells the planner of PostgreSQL which ids they are.
    """

    lookup_name = "any_of"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """Return the condition for PostgreSQL."""
        column, parameters = self.process_lhs(compiler, connection)
        return f"{column} = ANY(%s::bigint[])", (*parameters, f"{{{self._numbers()}}}")

    def as_sqlite(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """Return the condition for SQLite."""
        column, parameters = self.process_lhs(compiler, connection)
        condition = f"{column} IN (SELECT value FROM json_each(%s))"
        return condition, (*parameters, f"[{self._numbers()}]")

    def _numbers(self) -> str:
        return ",".join(map(str, self.rhs))
