"""The RQ worker of a standalone server: its work horse begins quickly, and goes when it goes."""

from __future__ import annotations

import signal
from importlib import import_module
from typing import Any

from rq import Worker

from cvat_lambda.engine import get_engine
from cvat_lambda.runtime.worker.death_signal import set_death_signal


class LinkedWorker(Worker):
    """A worker whose forked work horse does not outlive it.

    RQ's own horse runs on when its worker is killed, and would go on calling functions at an
    address where somebody else's runtime may listen by then. The request is resumed from the
    database by the next worker.
    """

    def work(self, *args: Any, **options: Any) -> bool:
        """Import what a request needs first: each forked work horse would do it anew."""
        import_module("cvat_lambda.requests.rq_tasks")
        get_engine()
        return bool(super().work(*args, **options))

    def setup_work_horse_signals(self) -> None:
        """In the horse, before its job: be killed when the worker is gone."""
        super().setup_work_horse_signals()  # type: ignore[no-untyped-call]
        set_death_signal(signal.SIGKILL)
