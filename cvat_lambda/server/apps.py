"""The standalone server as a Django app."""

from __future__ import annotations

import atexit
import gc
from importlib import import_module
from typing import Any

from django.apps import AppConfig
from django.core.signals import request_started
from django.db.backends.signals import connection_created

from cvat_lambda.server.connection_check import check_idle_connections


def tune_sqlite(sender: object, connection: Any, **kwargs: object) -> None:
    """Let SQLite's readers work beside one writer, and make commits cheap."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=NORMAL")
            cursor.execute("PRAGMA foreign_keys=ON")


class ServerConfig(AppConfig):
    """Settings, processes and the demo of the standalone server."""

    name = "cvat_lambda.server"
    label = "cvat_lambda_server"
    verbose_name = "Standalone server"

    def __init__(self, *args: Any) -> None:
        """Pause the search for garbage until `ready`: of the objects of imports 2 % are garbage.

        This saves a tenth of the time of `django.setup()`.
        """
        super().__init__(*args)
        gc.disable()

    def ready(self) -> None:
        """Connect receivers, and exclude the imported modules from the search for garbage.

        Forked processes then share more memory with their parent, because the search writes to
        each object. At its end, the interpreter would search all objects several times, which takes
        as long as a fifth of the start, although the system frees the memory anyway.
        """
        gc.freeze()
        gc.enable()
        atexit.register(gc.freeze)
        import_module("cvat_lambda.server.host_checks")
        connection_created.connect(tune_sqlite, dispatch_uid="cvat_lambda.server.tune_sqlite")
        request_started.connect(
            check_idle_connections, dispatch_uid="cvat_lambda.server.check_idle_connections"
        )
