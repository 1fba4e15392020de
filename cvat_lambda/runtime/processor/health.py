"""Whether a crew is ready or unhealthy, as its workers come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from cvat_lambda.runtime.processor.restarts import QUICK_LIFE_S
from cvat_lambda.runtime.processor.workers import Worker


class Health:
    """Reports the state of a crew that is awake."""

    def __init__(self, workers: Sequence[Worker], on_state: Callable[[str, str], None]) -> None:
        self._workers = workers
        self._on_state = on_state

    def tell(self, reason: str) -> None:
        """Report ready when a worker lives that does more than crash, else what is wrong."""
        if any(_is_of_use(worker) for worker in self._workers):
            self._on_state("ready", "")
        elif reason:
            self._on_state("unhealthy", reason)

    async def tell_when_it_lives(self, worker: Worker) -> None:
        """Take a worker that used to crash for well once it has lived for long enough."""
        link = worker.link
        await asyncio.sleep(QUICK_LIFE_S)
        if link is not None and worker.link is link and link.usable:
            worker.restarts.lived()
            self.tell("")


def _is_of_use(worker: Worker) -> bool:
    link = worker.link
    living = link is not None and link.usable and link.started.done()
    return living and not worker.restarts.looping
