"""How the workers of a function are started where memory is limited: one by one, as many as fit.

The first workers of all functions that wait go before any second worker, so that a function gets
no second worker with the memory that the first one of another function needs.
"""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO, Final

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
    firsts = lock.with_suffix(".firsts")  # shared by all functions whose first worker waits
    lock.parent.mkdir(parents=True, exist_ok=True)
    with _shared(firsts):
        await _start_first(workers[0], start, memory, lock)
    needed = int(MARGIN * await asyncio.to_thread(_used_by, workers[0]))
    for number, worker in enumerate(workers[1:], start=1):
        async with _locked(lock, unless_shared=firsts):
            available = memory.available()
            if available < needed:
                return (
                    f"{number} of {len(workers)} workers: another one needs"
                    f" {format_bytes(needed)}, and {format_bytes(max(available, 0))} are left of"
                    f" the memory limit of {format_bytes(memory.limit)}"
                )
            await start(worker)
    return ""


async def _start_first(
    worker: Worker,
    start: Callable[[Worker], Awaitable[None]],
    memory: MemoryLimit,
    lock: Path,
) -> None:
    async with _locked(lock):
        available = memory.available()
        if available < FIRST_WORKER_BYTES:
            raise StartFailed(
                f"{format_bytes(max(available, 0))} are left of the memory limit of"
                f" {format_bytes(memory.limit)}: raise it, serve fewer functions, or let idle ones"
                " sleep (--idle-timeout)"
            )
        await start(worker)


def _used_by(worker: Worker) -> int:
    process = worker.process
    if process is None:
        return 0
    pids = ProcessTracker().find({process.mark: process.pid})[process.mark]
    return sum(map(proportional_memory, pids))


@contextmanager
def _shared(path: Path) -> Iterator[None]:
    """Hold a lock together with others. The kernel releases it if this process ends."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # others hold it alone for a moment only
        yield


@asynccontextmanager
async def _locked(path: Path, *, unless_shared: Path | None = None) -> AsyncIterator[None]:
    """Hold a lock alone, once nobody holds `unless_shared`."""
    while True:
        with path.open("ab") as file:
            if _take(file) and not (unless_shared is not None and _is_shared(unless_shared)):
                yield
                return
        await asyncio.sleep(_LOCK_POLL_INTERVAL_S)


def _is_shared(path: Path) -> bool:
    with path.open("ab") as file:
        return not _take(file)


def _take(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
