"""What a function has started, wherever it went: found by a mark in its environment.

A worker's children are in its process group, as long as they do not leave it; a daemon, or a
server that is started in a session of its own, does. The mark is inherited by them all, and Linux
shows the environment that a process was started with.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from typing import Final

MARK: Final = "CVAT_LAMBDA_WORKER"
_ROUNDS: Final = 5  # one that is killed may just have started another


def end_marked(mark: str, *, of_all: bool = False) -> None:
    """Kill the processes that a worker has started, with ``of_all`` those of every worker whose
    mark begins so. Nothing happens where the system does not show environments.
    """
    wanted = f"{MARK}={mark}".encode()
    is_ours: Callable[[bytes], bool] = (
        (lambda variable: variable.startswith(wanted))
        if of_all
        else (lambda variable: variable == wanted)
    )
    for _ in range(_ROUNDS):
        others = [pid for pid in processes() if pid != os.getpid()]
        found = [pid for pid in others if any(map(is_ours, _environment(pid)))]
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return


def processes() -> list[int]:
    """Return the process ids of this machine (Linux alone tells)."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    return [int(name) for name in names if name.isdigit()]


def mark_of(pid: int) -> str | None:
    """Return the mark that a process carries, "" when it has none.

    None where it cannot be told: it is just being started, has ended, or is somebody else's.
    """
    variables = _environment(pid)
    marked = (item for item in variables if item.startswith(f"{MARK}=".encode()))
    if not any(variables):
        return None
    return next(marked, b"").partition(b"=")[2].decode("ascii", "replace")


def _environment(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:  # it has ended, or is somebody else's
        return []
