"""The state of a function as its workers crash and recover: ready or unhealthy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from cvat_lambda.runtime.processor.crash_loop import STABLE_AFTER_S
from cvat_lambda.runtime.processor.worker_process import Worker


class Health:
    """Reports the state of a function that is not scaled to zero."""

    def __init__(self, workers: Sequence[Worker], on_state: Callable[[str, str], None]) -> None:
        self._workers = workers
        self._on_state = on_state

    def report(self, reason: str) -> None:
        """Report ready if a worker runs and is in no crash loop, else unhealthy with the reason."""
        if any(_is_usable(worker) for worker in self._workers):
            self._on_state("ready", "")
        elif reason:
            self._on_state("unhealthy", reason)

    async def report_when_stable(self, worker: Worker) -> None:
        """Forget the crashes of a worker once it has run for STABLE_AFTER_S."""
        process = worker.process
        await asyncio.sleep(STABLE_AFTER_S)
        if process is not None and worker.process is process and process.usable:
            worker.backoff.reset()
            self.report("")


def _is_usable(worker: Worker) -> bool:
    process = worker.process
    is_running = process is not None and process.usable and process.started.done()
    return is_running and not worker.backoff.in_crash_loop
