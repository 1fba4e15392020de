"""One clock for what several machines write and judge: signs of life, and when a job was sent.

It is the database's. SQLite is a file of one machine, whose own clock does; besides it compares
moments as text, and gives its own in another form than Django.
"""

from __future__ import annotations

from datetime import datetime

from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone


def db_now_expression() -> Now | datetime:
    """The moment of an UPDATE, to be written by it."""
    return Now() if connection.vendor == "postgresql" else timezone.now()


def db_now() -> datetime:
    """The moment, for comparisons with what was written."""
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        moment: datetime = cursor.fetchone()[0]
        return moment
