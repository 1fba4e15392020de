"""Many small rows into a table at little cost: a request writes several for each frame.

A model object and a parameter a column cost Django some 0.1 ms a row, and the threads that feed
the function wait for it. PostgreSQL takes all rows as one JSON text instead.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from django.db import connection, models

ROWS_A_STATEMENT = 1000
IDS_A_STATEMENT = 500  # SQLite before 3.32 takes 999 variables


def insert(table: type[models.Model], rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert rows that all give the same columns, by the names of Django's attributes.

    Values are what JSON has, and moments. Signals of models are not sent.
    """
    rows = list(rows)
    for start in range(0, len(rows), ROWS_A_STATEMENT):
        some = rows[start : start + ROWS_A_STATEMENT]
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(_statement(table, tuple(some[0])), [_text(some)])
        else:
            table._default_manager.bulk_create([table(**row) for row in some])


def bulk_update_ids(table: type[models.Model], name: str, numbers: Mapping[int, int]) -> None:
    """Give a column of numbers other ones, by the rows' keys.

    Django's own way compares each row with the keys of all.
    """
    if not numbers:
        return
    quote = connection.ops.quote_name
    where, column = quote(table._meta.db_table), quote(name)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            given = [_array(numbers), _array(numbers.values())]
            cursor.execute(
                f"UPDATE {where} SET {column} = new.number FROM "
                "(SELECT unnest(%s::bigint[]) AS id, unnest(%s::bigint[]) AS number) AS new "
                f"WHERE {where}.id = new.id",
                given,
            )
        else:
            cursor.executemany(
                f"UPDATE {where} SET {column} = %s WHERE id = %s",
                [(number, pk) for pk, number in numbers.items()],
            )


def _array(numbers: Iterable[int]) -> str:
    return "{" + ",".join(map(str, numbers)) + "}"


def strip_unstorable(text: str) -> str:
    """The text as any database takes it: without NUL and halves of surrogate pairs."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def id_chunks(ids: Collection[int]) -> Iterator[list[int]]:
    """Ids in pieces that a statement can name."""
    ordered = list(ids)
    for start in range(0, len(ordered), IDS_A_STATEMENT):
        yield ordered[start : start + IDS_A_STATEMENT]


@lru_cache(maxsize=16)
def _statement(table: type[models.Model], names: tuple[str, ...]) -> str:
    """``INSERT`` from a JSON list of objects; the names are ours, nothing of a user's."""
    fields: dict[str, Any] = {field.attname: field for field in table._meta.concrete_fields}
    quote = connection.ops.quote_name
    columns = ", ".join(quote(fields[name].column) for name in names)
    values = ", ".join(f"r.{quote(name)}" for name in names)
    types = ", ".join(f"{quote(name)} {fields[name].db_type(connection)}" for name in names)
    return (
        f"INSERT INTO {quote(table._meta.db_table)} ({columns}) "
        f"SELECT {values} FROM jsonb_to_recordset(%s::jsonb) AS r({types})"
    )


def _text(rows: list[Mapping[str, Any]]) -> str:
    return json.dumps(rows, default=_moment, allow_nan=False)


def _moment(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} is no value of a row")
