"""Names of worker processes, and whether a process still runs."""

from __future__ import annotations

import os
import socket


def worker_name(pid: int | None = None) -> str:
    """Return ``host:pid`` of a process here (None: this one), as `Shard.worker` stores it."""
    return f"{socket.gethostname()}:{os.getpid() if pid is None else pid}"


def has_ended(host: str, pid: int) -> bool:
    """Return whether a process of this machine has ended; False for processes elsewhere."""
    return host == socket.gethostname() and not _is_running(pid)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
