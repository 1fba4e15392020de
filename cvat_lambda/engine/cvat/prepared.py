"""Queries whose SQL Django makes once a process.

To build a query and its SQL takes Django a millisecond, ten times what PostgreSQL takes to answer;
a call asks half a dozen. What differs between two askings is a few ids, so the text is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Model, QuerySet

# Stands for the first id while the SQL is made, the next ones for the others: numbers that fit
# into every integer column, and which a query has no reason to name.
_FIRST_MARK: Final = 2_000_000_001


class Prepared:
    """A query by ids: ``Prepared(lambda pk: Task.objects.filter(pk=pk).values_list("name"))``.

    Rows are the database's own values: fields with a form of their own are left to `built`, or to
    the caller.
    """

    def __init__(self, make: Callable[..., QuerySet[Any, Any]]) -> None:
        self._make = make
        self._sql = ""
        self._parameters: tuple[Any, ...] = ()

    def rows(self, *ids: int) -> list[tuple[Any, ...]]:
        """What the query finds for these ids."""
        if not self._sql:
            self._prepare(len(ids))
        given = dict(enumerate(ids, _FIRST_MARK))
        parameters = [given.get(value, value) for value in self._parameters]
        with connection.cursor() as cursor:
            cursor.execute(self._sql, parameters)
            found: list[tuple[Any, ...]] = cursor.fetchall()
        return found

    def first(self, *ids: int) -> tuple[Any, ...] | None:
        """The first row, if there is any."""
        rows = self.rows(*ids)
        return rows[0] if rows else None

    def _prepare(self, count: int) -> None:
        query = self._make(*range(_FIRST_MARK, _FIRST_MARK + count)).query
        # Two threads may do so at once: both find the same, and the SQL comes last.
        sql, self._parameters = query.get_compiler(DEFAULT_DB_ALIAS).as_sql()
        self._sql = sql


def built(model: type[Model], names: Sequence[str], values: Sequence[Any]) -> Any:
    """A row as a model's instance, like one of ``only(*names)``."""
    given = dict(zip(names, values, strict=True))
    # In the order of the table, as Django wants them.
    fields = [field for field in model._meta.concrete_fields if field.name in given]
    return model.from_db(
        DEFAULT_DB_ALIAS,
        [field.attname for field in fields],
        [_converted(field, given[field.name]) for field in fields],
    )


def _converted(field: Any, value: Any) -> Any:
    convert = getattr(field, "from_db_value", None)
    return value if convert is None else convert(value, None, connection)
