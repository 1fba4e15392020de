"""Whether the process of a worker still lives, as far as this machine can tell."""

from __future__ import annotations

import os
import socket


def has_ended(host: str, pid: int) -> bool:
    """Whether a process was on this machine and is gone; of other machines nothing is known."""
    return host == socket.gethostname() and not _lives(pid)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
