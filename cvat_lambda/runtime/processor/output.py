"""The output of a worker, line by line, and a description of how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable

_MAX_LINE = 16 * 2**10  # bytes; a longer line is cut into several


class OutputLines:
    """Reads a pipe on the event loop and passes whole lines on."""

    def __init__(self, fd: int, on_line: Callable[[str], None]) -> None:
        self._fd = fd
        self._on_line = on_line
        self._rest = b""
        self._loop = asyncio.get_running_loop()

    def open(self) -> None:
        """Start to read."""
        self._loop.add_reader(self._fd, self._read)

    def finish(self) -> None:
        """Read the rest of the output of an ended process and stop."""
        while self._read():
            pass
        self._loop.remove_reader(self._fd)
        if self._rest:
            self._emit(self._rest)
            self._rest = b""

    def _read(self) -> bool:
        """Read the available bytes; return whether there may be more."""
        data = b""
        with contextlib.suppress(BlockingIOError, OSError):
            data = os.read(self._fd, 65536)
        if not data:
            with contextlib.suppress(OSError, ValueError):
                self._loop.remove_reader(self._fd)
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._emit(line)
        while len(self._rest) > _MAX_LINE:
            self._emit(self._rest[:_MAX_LINE])
            self._rest = self._rest[_MAX_LINE:]
        return True

    def _emit(self, line: bytes) -> None:
        self._on_line(line.decode("utf-8", "replace").rstrip("\r"))


def describe_exit(status: int | None) -> str:
    """Return how a process ended, as the end of a sentence that begins with 'worker 0'."""
    if status is None:
        return "closed its socket"
    if status >= 0:
        return f"exited with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"
