"""Fast inserts and updates of many rows.

Django's ``bulk_create`` costs some 0.1 ms a row, and the threads that invoke the function wait for
it. On PostgreSQL, all rows are sent as one JSON text instead.
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
    """Insert rows that all have the same columns, named as Django's attributes.

    Values are JSON values and datetimes. Model signals are not sent.
    """
    rows = list(rows)
    for start in range(0, len(rows), ROWS_A_STATEMENT):
        some = rows[start : start + ROWS_A_STATEMENT]
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(_statement(table, tuple(some[0])), [_to_json(some)])
        else:
            table._default_manager.bulk_create([table(**row) for row in some])


def bulk_update_ids(table: type[models.Model], name: str, numbers: Mapping[int, int]) -> None:
    """Set an integer column of many rows, by primary key.

    Django's ``bulk_update`` would write one ``CASE`` with a branch for each row.
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
    """Return the text without NUL and lone surrogates, which databases refuse."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def id_chunks(ids: Collection[int]) -> Iterator[list[int]]:
    """Split ids into lists that fit one statement."""
    ordered = list(ids)
    for start in range(0, len(ordered), IDS_A_STATEMENT):
        yield ordered[start : start + IDS_A_STATEMENT]


@lru_cache(maxsize=16)
def _statement(table: type[models.Model], names: tuple[str, ...]) -> str:
    """Return the ``INSERT`` from a JSON list. Table and columns are never a user's text."""
    fields: dict[str, Any] = {field.attname: field for field in table._meta.concrete_fields}
    quote = connection.ops.quote_name
    columns = ", ".join(quote(fields[name].column) for name in names)
    values = ", ".join(f"r.{quote(name)}" for name in names)
    types = ", ".join(f"{quote(name)} {fields[name].db_type(connection)}" for name in names)
    return (
        f"INSERT INTO {quote(table._meta.db_table)} ({columns}) "
        f"SELECT {values} FROM jsonb_to_recordset(%s::jsonb) AS r({types})"
    )


def _to_json(rows: list[Mapping[str, Any]]) -> str:
    return json.dumps(rows, default=_encode_datetime, allow_nan=False)


def _encode_datetime(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} is not a value of a row")
