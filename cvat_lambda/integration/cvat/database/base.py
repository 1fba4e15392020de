"""Django's PostgreSQL engine with a connection pool.

CVAT's server (ASGI) answers each HTTP request in a new thread. Django's connections belong to
threads, so each HTTP request opens a connection, whatever ``CONN_MAX_AGE`` says. PostgreSQL starts
a process for each connection, which adds about 10 ms to a call. This engine puts a closed
connection into the pool, from which the next thread takes it.

Only processes that serve HTTP have a pool. Workers, commands and tests open connections as usual.
"""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import base

from cvat_lambda.integration.cvat.database.connection_pool import Key, pool


class DatabaseWrapper(base.DatabaseWrapper):
    """PostgreSQL whose connections come from the pool and return to it."""

    _pool_key: Key = ()

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a pooled connection with these parameters, or a new one."""
        self._pool_key = tuple(sorted((name, str(value)) for name, value in conn_params.items()))
        connection = pool.take(self._pool_key)
        return connection if connection is not None else super().get_new_connection(conn_params)

    def _close(self) -> None:
        connection = self.connection
        is_usable = connection is not None and not self.in_atomic_block and not self.errors_occurred
        if not (is_usable and pool.give(self._pool_key, connection)):
            super()._close()  # type: ignore[misc]  # the stubs do not know it
