"""The database's clock, for heartbeats and times of sending that several machines compare.

This is the clock of PostgreSQL. With SQLite, all processes run on one machine and use its clock.
"""

from __future__ import annotations

from datetime import datetime

from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone


def db_now_expression() -> Now | datetime:
    """Return the time for an UPDATE to write."""
    return Now() if connection.vendor == "postgresql" else timezone.now()


def db_now() -> datetime:
    """Return the time, to compare with times that were written."""
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        moment: datetime = cursor.fetchone()[0]
        return moment
