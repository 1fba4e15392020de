"""Queries that PostgreSQL does not compile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


@contextmanager
def without_jit() -> Iterator[None]:
    """Run the queries of the block without the just-in-time compilation of PostgreSQL.

    PostgreSQL compiles a query whose estimated cost is high. For the conditions of
    `control.access.visible_requests` it assumes that each subquery runs once for every row. In fact
    few rows need one, so the compilation (26 ms) takes longer than the query (16 ms).
    """
    if connection.vendor != "postgresql":
        yield
        return
    in_transaction = connection.in_atomic_block
    with transaction.atomic(), connection.cursor() as cursor:
        before = None
        if in_transaction:
            cursor.execute("SHOW jit")
            before = cursor.fetchone()
        cursor.execute("SET LOCAL jit = off")  # until the end of the transaction
        yield
        if before is not None:
            cursor.execute("SELECT set_config('jit', %s, true)", before)
