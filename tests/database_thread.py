"""A thread of a test that uses the database."""

from __future__ import annotations

import threading

from django.db import connections


class DatabaseThread(threading.Thread):
    """A thread that closes its connections to the database when it ends.

    An open connection of an ended thread is a warning, which fails whichever test runs then.
    """

    def run(self) -> None:
        try:
            super().run()
        finally:
            connections.close_all()
