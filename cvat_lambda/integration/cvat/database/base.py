"""Django's PostgreSQL, whose connections wait for the next web request instead of ending.

CVAT's server answers each request in a thread of its own (ASGI), and Django's connections belong
to threads: each request opens one, whatever ``CONN_MAX_AGE`` says. For that PostgreSQL starts a
process which reads its catalogues anew, ten milliseconds of a call. Here a closed connection is
handed to the next thread that asks for one, in the state in which ``CONN_MAX_AGE`` would keep it.

Only processes that serve HTTP do so; workers, commands and tests have Django's own ways.
"""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import base

from cvat_lambda.integration.cvat.database.kept import Key, kept


class DatabaseWrapper(base.DatabaseWrapper):
    """The same in all but where a connection comes from and where it goes."""

    _kept_under: Key = ()

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """A kept connection to this very database, or a new one."""
        self._kept_under = tuple(sorted((name, str(value)) for name, value in conn_params.items()))
        connection = kept.take(self._kept_under)
        return connection if connection is not None else super().get_new_connection(conn_params)

    def _close(self) -> None:
        connection = self.connection
        is_whole = connection is not None and not self.in_atomic_block and not self.errors_occurred
        if not (is_whole and kept.give(self._kept_under, connection)):
            super()._close()  # type: ignore[misc]  # the stubs do not know it
