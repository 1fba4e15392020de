"""Runs installers, conversions and other commands that end with this process or when cancelled."""

from __future__ import annotations

import codecs
import contextlib
import os
import selectors
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cvat_lambda.runtime.cancellation import POLL_INTERVAL_S, check_cancelled

WATCHDOG: Final = Path(__file__).resolve().parent / "watchdog.py"
_ENDING_POLL_INTERVAL_S: Final = 0.02
KEPT_LINES: Final = 400  # the last lines of the output


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The result of a command."""

    status: int  # 128 plus the number of a signal if one ended it
    lines: tuple[str, ...]  # the last lines of stdout and stderr together


def run_child(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    on_line: Callable[[str], None] = lambda line: None,
) -> Finished:
    """Run a command in its own session without input, wait for it, and return its result.

    The command and its descendants are killed when this process ends in any way, or when the work
    is cancelled (then Cancelled is raised). When the command has ended, its descendants are killed.
    """
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(WATCHDOG), *command],
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.PIPE,  # the watchdog sees its end when this process ends
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        start_new_session=True,
    )
    lines: deque[str] = deque(maxlen=KEPT_LINES)

    def take(line: str) -> None:
        lines.append(line)
        on_line(line)

    try:
        _read_lines(process, take)
    finally:
        _kill_group(process.pid)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
    return Finished(status=process.returncode, lines=tuple(lines))


def _read_lines(process: subprocess.Popen[bytes], take: Callable[[str], None]) -> None:
    """Pass each line on until the process has ended and its output is read."""
    assert process.stdout is not None
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest, is_open, has_ended = "", True, False
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while is_open or not has_ended:
            check_cancelled()
            if not has_ended and _has_ended(process.pid):
                has_ended = True
                _kill_group(process.pid)  # a descendant may keep the output open
            if not selector.select(POLL_INTERVAL_S if is_open else _ENDING_POLL_INTERVAL_S):
                continue
            data = os.read(process.stdout.fileno(), 65536)
            *lines, rest = (rest + decoder.decode(data, final=not data)).split("\n")
            for line in lines:
                take(line.rstrip("\r"))
            if not data:
                is_open = False
                selector.unregister(process.stdout)
    if rest:
        take(rest)


def _has_ended(pid: int) -> bool:
    """Return whether a child has ended. It is not reaped, so its pid is not reused."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
