"""Queries whose SQL is built once in a process.

Django takes a millisecond to build a query and its SQL, ten times as long as PostgreSQL takes to
answer it. A call makes half a dozen queries. They differ only in ids, so the SQL is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Model, QuerySet

# The placeholder of the first id while the SQL is built. The other ids take the next numbers.
# These numbers fit into every integer column and occur in no query for another reason.
_FIRST_PLACEHOLDER: Final = 2_000_000_001


class PreparedQuery:
    """A query by ids: ``PreparedQuery(lambda pk: Task.objects.filter(pk=pk).values_list("name"))``.

    With ``filter(pk__in=[pk])`` it takes a list of ids instead of an id. Rows hold the values of
    the database; `model_from_row` or the caller converts those of fields with a Python type.
    """

    def __init__(self, make: Callable[..., QuerySet[Any, Any]]) -> None:
        self._make = make
        self._sql = ""
        self._parameters: tuple[Any, ...] = ()

    def rows(self, *ids: int | list[int]) -> list[tuple[Any, ...]]:
        """Return the rows for these ids."""
        if not self._sql:
            self._prepare(len(ids))
        given = dict(enumerate(ids, _FIRST_PLACEHOLDER))
        parameters = [given.get(value, value) for value in self._parameters]
        with connection.cursor() as cursor:
            cursor.execute(self._sql, parameters)
            found: list[tuple[Any, ...]] = cursor.fetchall()
        return found

    def first(self, *ids: int | list[int]) -> tuple[Any, ...] | None:
        """Return the first row, or None."""
        rows = self.rows(*ids)
        return rows[0] if rows else None

    def _prepare(self, count: int) -> None:
        query = self._make(*range(_FIRST_PLACEHOLDER, _FIRST_PLACEHOLDER + count)).query
        # Two threads may do this at once; both get the same result. `_sql` is assigned last.
        sql, self._parameters = query.get_compiler(DEFAULT_DB_ALIAS).as_sql()
        self._sql = sql.replace("IN (%s)", "= ANY (%s)")  # PostgreSQL takes a list for it


def model_from_row(model: type[Model], names: Sequence[str], values: Sequence[Any]) -> Any:
    """Return a model instance of a row, with deferred fields as ``only(*names)`` makes them."""
    given = dict(zip(names, values, strict=True))
    # Django expects the values in the order of the model's fields.
    fields = [field for field in model._meta.concrete_fields if field.name in given]
    return model.from_db(
        DEFAULT_DB_ALIAS,
        [field.attname for field in fields],
        [_converted(field, given[field.name]) for field in fields],
    )


def _converted(field: Any, value: Any) -> Any:
    convert = getattr(field, "from_db_value", None)
    return value if convert is None else convert(value, None, connection)
