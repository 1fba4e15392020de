"""Fast inserts and updates of many rows: on PostgreSQL without a model instance for each row."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from django.db import connection, models

from cvat_lambda.json_rows import ROWS_PER_STATEMENT, insert_rows

IDS_A_STATEMENT = 500  # SQLite before 3.32 takes 999 variables


def insert(table: type[models.Model], rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert rows that all have the same columns, named as Django's attributes.

    Values are JSON values and datetimes. Model signals are not sent.
    """
    rows = list(rows)
    if connection.vendor == "postgresql":
        insert_rows(table, rows)
    else:
        table._default_manager.bulk_create([table(**row) for row in rows], ROWS_PER_STATEMENT)


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
