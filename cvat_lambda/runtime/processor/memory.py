"""The memory limit of workers."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Final

import psutil

from cvat_lambda.runtime.processes.descendants import mark_of
from cvat_lambda.runtime.processor.worker_process import Worker
from cvat_lambda.runtime.spec.quantities import format_bytes

MEMORY_POLL_INTERVAL_S: Final = 0.5


async def watch_memory(workers: Sequence[Worker], limit: int) -> None:
    """Kill each worker that uses more than `limit` bytes of memory; run until cancelled.

    The memory of a worker is that of its process and of all its descendants. The limit holds from
    the worker's start, so a model that does not fit is not loaded. RLIMIT_AS cannot be used: it
    counts the address space that CUDA and OpenVINO reserve, which is far more than they use.
    """
    tracker = ProcessTracker()
    while True:
        await asyncio.sleep(MEMORY_POLL_INTERVAL_S)
        running = {
            worker: worker.process
            for worker in workers
            if worker.process is not None and worker.process.usable
        }
        marks = {process.mark: process.pid for process in running.values()}
        used_by_mark = await asyncio.to_thread(_measure, tracker, marks, limit)
        for worker, process in running.items():
            used = used_by_mark.get(process.mark, 0)
            if used > limit and worker.process is process and process.usable:
                worker.end_reason = (
                    f"held {format_bytes(used)}, over its limit of {format_bytes(limit)}"
                )
                process.kill()


def _measure(tracker: ProcessTracker, marks: Mapping[str, int], limit: int) -> dict[str, int]:
    return {mark: used_memory(pids, limit) for mark, pids in tracker.find(marks).items()}


class ProcessTracker:
    """Finds the processes of each worker. It reads the environment of a process only once."""

    def __init__(self) -> None:
        # (pid, session) -> mark of processes outside the workers' sessions
        self._marks: dict[tuple[int, int], str] = {}

    def find(self, marks: Mapping[str, int]) -> dict[str, list[int]]:
        """Return the pids of each worker by its mark; `marks` has the pid of each worker itself.

        A worker's processes are those of its session, and those that left the session and still
        carry its mark.
        """
        leaders = {pid: mark for mark, pid in marks.items()}
        found: dict[str, list[int]] = {mark: [] for mark in marks}
        outside: dict[tuple[int, int], str] = {}
        for pid in psutil.pids():
            try:
                session = os.getsid(pid)
            except OSError:
                continue  # it has ended
            mark = leaders.get(session) or self._marks.get((pid, session))
            if mark is None and session != 0:  # session 0: threads of the kernel
                mark = mark_of(pid)
            if mark in found:
                found[mark].append(pid)
            if mark is not None and session not in leaders:
                outside[pid, session] = mark
        self._marks = outside
        return found


def used_memory(pids: Sequence[int], limit: int) -> int:
    """Return the bytes that processes use together; exact if they may exceed the limit.

    Forked processes share pages, and each counts them as resident. If the sum of the resident sizes
    exceeds the limit, the proportional sizes are used instead; the kernel computes them slowly.
    """
    resident = sum(map(resident_memory, pids))
    if resident <= limit or len(pids) < 2:
        return resident
    return sum(map(proportional_memory, pids))


def resident_memory(pid: int) -> int:
    """Return the resident bytes of a process, 0 if it has ended."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def proportional_memory(pid: int) -> int:
    """Return the bytes of a process. A page that n processes share counts one nth."""
    with contextlib.suppress(psutil.Error, AttributeError):  # only Linux has it
        return int(psutil.Process(pid).memory_full_info().pss)
    return resident_memory(pid)
