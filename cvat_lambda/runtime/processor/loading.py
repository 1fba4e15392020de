"""How the workers of a function are started where memory is limited: one by one, as many as fit."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from cvat_lambda.runtime.processes.memory_limit import MemoryLimit
from cvat_lambda.runtime.processor.errors import StartFailed
from cvat_lambda.runtime.processor.memory import ProcessTracker, proportional_memory
from cvat_lambda.runtime.processor.worker_process import Worker
from cvat_lambda.runtime.spec.quantities import format_bytes

FIRST_WORKER_BYTES: Final = 96 * 2**20  # what must be free before the first worker starts
# What must be free before another worker starts, as a multiple of what the first one uses. A worker
# that answers uses more than one that has just loaded the model.
MARGIN: Final = 1.5
_LOCK_POLL_INTERVAL_S: Final = 0.1


async def start_one_by_one(
    workers: Sequence[Worker],
    start: Callable[[Worker], Awaitable[None]],
    memory: MemoryLimit,
    lock: Path,
) -> str:
    """Start as many workers as the limit allows. Return why there are fewer, "" if there are not.

    The functions of a runtime share the lock, so that one worker at a time loads its model.
    Raise StartFailed if not even the first worker fits.
    """
    async with _locked(lock):
        available = memory.available()
        if available < FIRST_WORKER_BYTES:
            raise StartFailed(
                f"{format_bytes(max(available, 0))} are left of the memory limit of"
                f" {format_bytes(memory.limit)}: raise it, serve fewer functions, or let idle ones"
                " sleep (--idle-timeout)"
            )
        await start(workers[0])
    needed = int(MARGIN * await asyncio.to_thread(_used_by, workers[0]))
    for number, worker in enumerate(workers[1:], start=1):
        async with _locked(lock):
            available = memory.available()
            if available < needed:
                return (
                    f"{number} of {len(workers)} workers: another one needs"
                    f" {format_bytes(needed)}, and {format_bytes(max(available, 0))} are left of"
                    f" the memory limit of {format_bytes(memory.limit)}"
                )
            await start(worker)
    return ""


def _used_by(worker: Worker) -> int:
    process = worker.process
    if process is None:
        return 0
    pids = ProcessTracker().find({process.mark: process.pid})[process.mark]
    return sum(map(proportional_memory, pids))


@asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """Hold a lock between processes. The kernel releases it if this process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(_LOCK_POLL_INTERVAL_S)
        yield
