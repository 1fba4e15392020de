"""The descendants of a worker, found by a variable in their environment.

The children of a worker are in its process group, unless they leave it, as daemons do. A variable
that the worker was started with is inherited by all of them, and the system shows the environment
with which a process was started.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

import psutil

MARK: Final = "CVAT_LAMBDA_WORKER"
_ROUNDS: Final = 5  # a process may have started another one just before it was killed


def kill_marked(mark: str, *, by_prefix: bool = False) -> None:
    """Kill all processes with a mark, or with `by_prefix` all whose mark starts with it.

    Do nothing where the system does not show environments.
    """
    if not mark:
        return  # or every process without a mark would match
    for _ in range(_ROUNDS):
        found = [pid for pid in psutil.pids() if pid != os.getpid() and _has(pid, mark, by_prefix)]
        for pid in found:
            with contextlib.suppress(psutil.Error):
                psutil.Process(pid).kill()
        if not found:
            return


def mark_of(pid: int) -> str | None:
    """Return the mark of a process, "" if it has none.

    Return None if it cannot be read: the process starts, has ended, or belongs to another user.
    """
    try:
        variables = psutil.Process(pid).environ()
    except (psutil.Error, OSError):
        return None
    return variables.get(MARK, "") if variables else None


def _has(pid: int, mark: str, by_prefix: bool) -> bool:
    found = mark_of(pid) or ""
    return found.startswith(mark) if by_prefix else found == mark
