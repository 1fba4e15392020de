"""The places of a crew, one a worker, and the guard of their memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cvat_lambda.runtime.units import format_bytes
from cvat_lambda.runtime.worker.frames import Meta

from .link import WorkerLink

FIRST_BACKOFF_S: Final = 0.1
MEMORY_LOOK_S: Final = 0.5


class Worker:
    """One place in the crew; its process may be replaced."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.link: WorkerLink | None = None
        self.captured: list[Meta] | None = None  # log records of the call in progress
        self.request_id = ""
        self.over_memory = ""  # why it was killed, when that was the reason
        self.backoff_s = FIRST_BACKOFF_S


async def watch_memory(workers: Sequence[Worker], limit: int) -> None:
    """Kill each worker whose resident memory is over the limit; runs until cancelled.

    RLIMIT_AS would count what CUDA and OpenVINO merely reserve: far more than they use.
    """
    while True:
        await asyncio.sleep(MEMORY_LOOK_S)
        for worker in workers:
            link = worker.link
            if link is None or not link.usable or not link.pid:
                continue
            used = resident_memory(link.pid)
            if used > limit:
                worker.over_memory = (
                    f"held {format_bytes(used)}, over its limit of {format_bytes(limit)}"
                )
                link.kill()


def resident_memory(pid: int) -> int:
    """Return the resident bytes of a process; 0 when it is gone or the system does not tell."""
    try:
        counters = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
        return int(counters[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
