"""A process that ends when its parent ends, even if the parent is killed (Linux: prctl(2))."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None


def set_death_signal(number: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent ends.

    The kernel watches the thread of the parent that started this process. Other systems than Linux
    do nothing. May be called between fork and exec.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, number)


def end_with_parent(parent: int, number: signal.Signals) -> None:
    """Set the death signal and exit at once if the parent has ended already."""
    set_death_signal(number)
    if _LIBC is not None and os.getppid() != parent:
        os._exit(0)
