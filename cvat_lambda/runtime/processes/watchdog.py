"""Runs one command and kills it when the process that started this one ends.

``python watchdog.py COMMAND...`` is started by path (see subprocesses.py) as the leader of a
process group. Its parent holds its standard input open. The input ends when the parent ends, even
if the parent is killed. Then this process kills the whole group: the command and its descendants.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

_NOT_STARTED = 127  # the status that shells use


def main(command: list[str]) -> int:
    """Return the command's exit status, or 128 plus the number of the signal that ended it."""
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
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
