"""Memory and processor time of a runtime's processes, read from /proc (Linux)."""

from __future__ import annotations

import os
from pathlib import Path

from tests.integration.runtime.harness import Runtime


def peak_memory(runtime: Runtime) -> int:
    """Return the largest peak of resident memory of the runtime's processes, in bytes (Linux)."""
    return max(_status(process, "VmHWM:") * 1024 for process in _below(runtime))


def workers_memory(runtime: Runtime) -> int:
    """Return the memory of all processes below the runtime's own, in bytes; shared pages once."""
    assert runtime.process is not None
    own = str(runtime.process.pid)
    return sum(
        _status(process, "Pss:", "smaps_rollup") * 1024
        for process in _below(runtime)
        if process.name != own
    )


def processor_seconds(runtime: Runtime) -> float:
    """Return the processor time of all of the runtime's processes, in seconds (Linux)."""
    return sum(map(_ticks, _below(runtime))) / os.sysconf("SC_CLK_TCK")


def _below(runtime: Runtime) -> list[Path]:
    """Return the folders in /proc of the runtime's process and of all its descendants."""
    assert runtime.process is not None
    parents = {int(path.name): _status(path, "PPid:") for path in Path("/proc").glob("[0-9]*")}
    below: set[int] = {runtime.process.pid}
    while grown := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= grown
    return [Path("/proc") / str(pid) for pid in below]


def _ticks(process: Path) -> int:
    try:
        # The command is in brackets and may have spaces. Fields 14 and 15 are user and system time.
        after = (process / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0  # the process has ended
    return int(after[11]) + int(after[12])


def _status(process: Path, key: str, file: str = "status") -> int:
    """Return the number behind a key in a file of a process, or 0 if it has ended."""
    try:
        lines = (process / file).read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(key)), 0)
