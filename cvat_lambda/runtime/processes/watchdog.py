"""Runs one command and ends with whoever started it; itself started by path (see children.py).

``python guardian.py COMMAND...``: it leads a process group of its own, and its standard input is
held open by its parent. When the parent ends, even by kill -9, that input ends, and the whole group
is killed: an installer and all that it started.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading

_PR_SET_PDEATHSIG = 1
_NOT_STARTED = 127  # as a shell has it


def main(command: list[str]) -> int:
    """Return the command's exit status; 128 and its signal where one ended it."""
    libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None

    def end_with_guardian() -> None:
        # The guardian has one thread by now: it is safe to run this between fork and exec.
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=end_with_guardian)
    except OSError as exc:
        print(f"error: {command[0]} cannot be started: {exc}", flush=True)
        return _NOT_STARTED
    threading.Thread(target=_watch_parent, daemon=True).start()
    status = child.wait()
    return status if status >= 0 else 128 - status


def _watch_parent() -> None:
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
