"""Queries of Django's ORM whose SQL is built once in a process.

Django takes up to a millisecond to build a query and its SQL, several times as long as the database
takes to answer. The queries of a call, and of each frame of an agent, differ only in a few values.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import QuerySet
from django.db.models.query import ModelIterable, get_related_populators

Row = TypeVar("Row")
Argument = int | str | list[int]

# Values that stand for the arguments while the SQL is built. They occur in no query otherwise.
_NUMBER: Final = 2_000_000_001
_TEXT: Final = "an argument of a prepared query"
_MAX_NUMBER: Final = 2**63 - 1  # SQLite's driver raises OverflowError for larger ones


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """How a row becomes a model instance."""

    model: Any
    names: list[str]  # of the columns of the model itself
    columns: slice  # where they are in a row
    related: list[Any]  # make the objects of `select_related`


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What is known of a query before its arguments."""

    sql: str
    parameters: tuple[Any, ...]
    converters: dict[int, Any]  # by column: from the database's type to Python's
    shape: _Shape | None  # None: the rows are tuples


class PreparedQuery(Generic[Row]):
    """A query by numbers, texts or lists of numbers.

    ``PreparedQuery(lambda pk: Task.objects.filter(pk=pk), int)`` takes a number, and
    ``PreparedQuery(lambda ids: Task.objects.filter(pk__in=ids), list)`` a list.

    It returns model instances, also those of ``select_related``, or the tuples of ``values_list``.
    It supports neither ``prefetch_related`` nor annotations. The arguments are compared for
    equality, so a number that no column of the database can hold selects no row.
    """

    def __init__(
        self, make: Callable[..., QuerySet[Any, Any]], *types: type[int | str | list[int]]
    ) -> None:
        self._make = make
        self._types = types
        # What stands in the parameters of the SQL for each argument.
        self._examples: list[Any] = [
            f"{_TEXT} {place}" if kind is str else _NUMBER + place
            for place, kind in enumerate(types)
        ]
        self._plan: _Plan | None = None

    def rows(self, *values: Argument) -> list[Row]:
        """Return the rows for these arguments."""
        if any(isinstance(value, int) and abs(value) > _MAX_NUMBER for value in values):
            return []
        plan = self._plan or self._prepare()
        given = dict(zip(self._examples, map(_parameter, values), strict=True))
        parameters = [given.get(value, value) for value in plan.parameters]
        with connection.cursor() as cursor:
            cursor.execute(plan.sql, parameters)
            found = cursor.fetchall()
        return list(_instances(plan, found))

    def first(self, *values: Argument) -> Row | None:
        """Return the first row, or None."""
        return next(iter(self.rows(*values)), None)

    def _prepare(self) -> _Plan:
        # Two threads may do this at once; both get the same result.
        examples = dict(zip(self._examples, self._types, strict=True))
        queryset: Any = self._make(
            *([example] if kind is list else example for example, kind in examples.items())
        )
        compiler: Any = queryset.query.get_compiler(DEFAULT_DB_ALIAS)
        sql, parameters = compiler.as_sql()
        lists = [examples.get(value) is list for value in parameters]
        if not examples.keys() <= set(parameters):
            raise ValueError("a prepared query passes its arguments to the database unchanged")
        sql = _with_lists(sql, lists)
        select = compiler.select[: compiler.col_count]
        converters = compiler.get_converters([column for column, *_ in select])
        shape = _shape(compiler, select) if queryset._iterable_class is ModelIterable else None
        self._plan = _Plan(sql=sql, parameters=parameters, converters=converters, shape=shape)
        return self._plan


def _parameter(value: Argument) -> Any:
    """Return an argument as the database takes it."""
    if isinstance(value, list) and connection.vendor != "postgresql":
        return json.dumps(value)
    return value


def _with_lists(sql: str, lists: Sequence[bool]) -> str:
    """Return the SQL with one parameter for each whole list, where Django has one for each member.

    ``lists`` says for each parameter whether it is a list.
    """
    is_postgresql = connection.vendor == "postgresql"
    begin, end = ("= ANY (", ")") if is_postgresql else ("IN (SELECT value FROM json_each(", "))")
    parts = sql.split("%s")
    for place, is_list in enumerate(lists):
        if not is_list:
            continue
        before, after = parts[place], parts[place + 1]
        if not (before.endswith("IN (") and after.startswith(")")):
            raise ValueError("a prepared query takes a list only for the lookup 'in'")
        parts[place], parts[place + 1] = before.removesuffix("IN (") + begin, end + after[1:]
    return "%s".join(parts)


def _shape(compiler: Any, select: Any) -> _Shape:
    """Return how Django makes an instance of a row: see `ModelIterable`."""
    info = compiler.klass_info
    make_populators: Any = get_related_populators  # its signature differs between versions
    start, end = info["select_fields"][0], info["select_fields"][-1] + 1
    return _Shape(
        model=info["model"],
        names=[column.target.attname for column, *_ in select[start:end]],
        columns=slice(start, end),
        related=make_populators(info, select, DEFAULT_DB_ALIAS),
    )


def _instances(plan: _Plan, rows: list[tuple[Any, ...]]) -> Iterator[Any]:
    for values in rows:
        row = list(values)
        for place, (converters, expression) in plan.converters.items():
            value = row[place]
            for convert in converters:
                value = convert(value, expression, connection)
            row[place] = value
        if plan.shape is None:
            yield tuple(row)
            continue
        own = row[plan.shape.columns]
        found = plan.shape.model.from_db(DEFAULT_DB_ALIAS, plan.shape.names, own)
        for populator in plan.shape.related:
            populator.populate(row, found)
        yield found
