"""The guard of the workers' memory."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cvat_lambda.runtime.processes.descendants import mark_of, processes
from cvat_lambda.runtime.processor.workers import Worker
from cvat_lambda.runtime.spec.quantities import format_bytes

MEMORY_LOOK_S: Final = 0.5
_SHARE: Final = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)


async def watch_memory(workers: Sequence[Worker], limit: int) -> None:
    """Kill each worker that holds more memory than `limit`; runs until cancelled.

    A worker holds what its process and all that it started hold together, from its first moment:
    a model that does not fit must not be loaded. RLIMIT_AS would count what CUDA and OpenVINO
    merely reserve: far more than they use.
    """
    census = Census()
    while True:
        await asyncio.sleep(MEMORY_LOOK_S)
        links = {item: item.link for item in workers if item.link is not None and item.link.usable}
        marks = {link.mark: link.pid for link in links.values()}
        held = await asyncio.to_thread(_held, census, marks, limit)
        for worker, link in links.items():
            used = held.get(link.mark, 0)
            if used > limit and worker.link is link and link.usable:
                worker.end_reason = (
                    f"held {format_bytes(used)}, over its limit of {format_bytes(limit)}"
                )
                link.kill()


def _held(census: Census, marks: Mapping[str, int], limit: int) -> dict[str, int]:
    return {mark: held_memory(pids, limit) for mark, pids in census.take(marks).items()}


class Census:
    """Which processes are whose; taken again and again, it looks into new ones alone."""

    def __init__(self) -> None:
        # Of each process outside the workers' sessions, by its number and its session's.
        self._marks: dict[tuple[int, int], str] = {}

    def take(self, marks: Mapping[str, int]) -> dict[str, list[int]]:
        """Return the processes of each worker, by its mark; given is the process of each.

        Those of its session, and those that left it and still carry the mark.
        """
        leaders = {pid: mark for mark, pid in marks.items()}
        found: dict[str, list[int]] = {mark: [] for mark in marks}
        strangers: dict[tuple[int, int], str] = {}
        for pid in processes():
            try:
                session = os.getsid(pid)
            except OSError:
                continue  # it has ended
            mark = leaders.get(session) or self._marks.get((pid, session))
            if mark is None and session != 0:  # 0 is that of the kernel's own threads
                mark = mark_of(pid)
            if mark in found:
                found[mark].append(pid)
            if mark is not None and session not in leaders:
                strangers[pid, session] = mark
        self._marks = strangers
        return found


def held_memory(pids: Sequence[int], limit: int) -> int:
    """Return the bytes that processes hold together; exact where it matters for the limit.

    Processes that were forked share pages, which each of them counts as resident. So where the sum
    is over the limit, each is asked for its share, which takes the kernel longer.
    """
    resident = sum(map(resident_memory, pids))
    if resident <= limit or len(pids) < 2:
        return resident
    return sum(map(shared_memory, pids))


def resident_memory(pid: int) -> int:
    """Return the resident bytes of a process; 0 when it is gone or the system does not tell."""
    try:
        counters = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
        return int(counters[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def shared_memory(pid: int) -> int:
    """Return the bytes of a process, of a page that n processes share the nth part."""
    try:
        told = _SHARE.search(Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii"))
    except OSError:
        told = None
    return resident_memory(pid) if told is None else int(told[1]) * 1024
