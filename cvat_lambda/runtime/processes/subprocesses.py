"""Installers, conversions and other commands: they end when we do, and when nobody wants them."""

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

from cvat_lambda.runtime.cancellation import LOOK_S, check_cancelled

GUARDIAN: Final = Path(__file__).resolve().parent / "watchdog.py"
_ENDING_LOOK_S: Final = 0.02
KEPT_LINES: Final = 400  # of the output, the last ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a command ended."""

    status: int  # 128 and the signal's number where one ended it
    lines: tuple[str, ...]  # the end of what it said, on stdout and stderr together


def run_child(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    on_line: Callable[[str], None] = lambda line: None,
) -> Finished:
    """Run a command to its end and return how that was; blocking, for a thread.

    It runs in a session of its own, without an input. It and what it started are killed when this
    process ends in any way, when the work is given up (then Cancelled is raised), and what it left
    behind is killed when it has ended.
    """
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(GUARDIAN), *command],
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.PIPE,  # the guardian's sign that we live; nothing is written
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
    """Hand over each line until the process has ended and nothing more can be read."""
    assert process.stdout is not None
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest, is_open, has_ended = "", True, False
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while is_open or not has_ended:
            check_cancelled()
            if not has_ended and _has_ended(process.pid):
                has_ended = True
                _kill_group(process.pid)  # what it left behind would hold its output open
            if not selector.select(LOOK_S if is_open else _ENDING_LOOK_S):
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
    """Whether a child has ended; it is not reaped, so its number stays its own."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
