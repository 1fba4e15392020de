"""Empty the tables after a test that commits, but keep content types and permissions.

Django's command deletes them too, and makes the same rows again. That takes most of its time. It
also truncates each table, which PostgreSQL does slowly: it makes new files for the table and for
each index. Here only tables with rows are emptied, by DELETE.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management.commands import flush
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

KEPT = (ContentType, Permission)
Rows = list[list[tuple[Any, ...]]]
_rows: dict[str, Rows] = {}  # of the kept tables, by database, after Django's own flush


class Command(flush.Command):
    """Django's `flush` runs the first time, and again if a test has changed the kept rows."""

    def handle(self, **options: Any) -> None:
        database: str = options["database"]
        if database not in _rows or _rows[database] != kept_rows(database):
            super().handle(**options)
            _rows[database] = kept_rows(database)
        else:
            empty_tables(connections[database])


def kept_rows(database: str) -> Rows:
    return [list(model.objects.using(database).order_by("pk").values_list()) for model in KEPT]


def empty_tables(connection: BaseDatabaseWrapper) -> None:
    kept = {model._meta.db_table for model in KEPT}
    tables = set(connection.introspection.django_table_names(only_existing=True)) - kept
    quoted = {table: connection.ops.quote_name(table) for table in tables}
    query = " UNION ALL ".join(
        f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {name})" for table, name in quoted.items()
    )
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute(query)
        for (table,) in cursor.fetchall():
            cursor.execute(f"DELETE FROM {quoted[table]}")
