"""Facts about PostgreSQL connections that tests need."""

from __future__ import annotations

from django.db import connection


def waiting_connections() -> int:
    """Return how many connections to the test's database wait for a lock."""
    with connection.cursor() as cursor:
        # Without this, a transaction reads its first snapshot again.
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return int(cursor.fetchone()[0])
