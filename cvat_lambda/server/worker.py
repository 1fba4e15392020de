"""The RQ worker of a standalone server."""

from __future__ import annotations

import signal
from importlib import import_module
from typing import Any

from rq import Worker

from cvat_lambda.engine import get_engine
from cvat_lambda.engine.standalone.media.storage import object_store
from cvat_lambda.runtime.worker.death_signal import set_death_signal


class LinkedWorker(Worker):
    """A worker whose work horse (RQ's forked process for a job) ends with it.

    RQ's work horse survives a killed worker. It would go on invoking functions at an address that
    another runtime may use by then. The next worker resumes the request from the database.
    """

    def work(self, *args: Any, **options: Any) -> bool:
        """Load what a request needs before the fork, so that work horses start quickly."""
        for name in ("cvat_lambda.requests.rq_tasks", "scipy.optimize"):
            import_module(name)
        get_engine()
        store: Any = object_store()
        if store is not None:
            _ = store.bucket  # makes a client of S3, which reads megabytes of descriptions
        return bool(super().work(*args, **options))

    def setup_work_horse_signals(self) -> None:
        """Make the kernel kill this work horse when the worker ends."""
        super().setup_work_horse_signals()  # type: ignore[no-untyped-call]
        set_death_signal(signal.SIGKILL)
