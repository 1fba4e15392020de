"""The child processes of the standalone server: started, watched and restarted with backoff.

The states of the processes are written to a file, from which the health pages read them.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cvat_lambda.server.processes import Child

FIRST_DELAY_S = 1.0
MAX_DELAY_S = 30.0
STABLE_AFTER_S = 60.0  # a process that ran this long is restarted with the first delay again
STATES_FILE = "processes.json"
STALE_AFTER_S = 15.0  # states that were not rewritten for so long: the supervisor is not running
REWRITE_EVERY_S = 5.0


@dataclass(slots=True, kw_only=True)
class Supervised:
    """One process that is to run until the server stops."""

    name: str
    start: Callable[[], Child]
    child: Child
    started_at: float = field(default_factory=time.monotonic)
    restarts: int = 0
    delay_s: float = FIRST_DELAY_S
    restart_at: float | None = None  # time.monotonic(); None: it runs
    last_exit: str = ""

    def check(self, say: Callable[[str], None]) -> bool:
        """Restart the process if it has ended and the delay is over. Return whether it changed."""
        now = time.monotonic()
        if self.restart_at is None:
            status = self.child.process.poll()
            if status is None:
                return False
            self._note_exit(status, now, say)
            return True
        if now < self.restart_at:
            return False
        self.child.stop()  # ends what the process has left behind
        self.child = self.start()
        self.started_at, self.restart_at = now, None
        self.restarts += 1
        return True

    def _note_exit(self, status: int, now: float, say: Callable[[str], None]) -> None:
        if now - self.started_at >= STABLE_AFTER_S:
            self.delay_s = FIRST_DELAY_S
        self.last_exit = _exit_text(status)
        self.restart_at = now + self.delay_s
        say(f"{self.name} {self.last_exit}; it is restarted in {self.delay_s:.0f} s.")
        self.delay_s = min(2 * self.delay_s, MAX_DELAY_S)

    def state(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": "running" if self.restart_at is None else "restarting",
            "restarts": self.restarts,
            "last_exit": self.last_exit,
        }


def _exit_text(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"


@dataclass(slots=True)
class Supervisor:
    """The processes of a server, in the order in which they were started."""

    folder: Path  # of the states file
    say: Callable[[str], None] = print
    processes: list[Supervised] = field(default_factory=list)
    _written_at: float = 0.0

    def add(self, name: str, start: Callable[[], Child]) -> Child:
        """Start a process and watch it from now on."""
        child = start()
        self.processes.append(Supervised(name=name, start=start, child=child))
        return child

    def remove(self, name: str) -> None:
        """Stop a process and watch it no longer."""
        (found,) = (process for process in self.processes if process.name == name)
        self.processes.remove(found)
        found.child.stop()

    def check(self) -> None:
        """Restart processes that have ended, and write the states."""
        changed = [process.check(self.say) for process in self.processes]
        if any(changed) or time.monotonic() - self._written_at > REWRITE_EVERY_S:
            self.write_states()

    def write_states(self) -> None:
        """Write the states for the health pages."""
        self._written_at = time.monotonic()
        draft = self.folder / f"{STATES_FILE}.{os.getpid()}"
        states = [process.state() for process in self.processes]
        try:
            draft.write_text(json.dumps({"at": time.time(), "processes": states}))
            draft.replace(self.folder / STATES_FILE)
        except OSError as exc:  # a full disk must not end the supervisor
            self.say(f"The states of the processes cannot be written: {exc.strerror}")

    def stop(self) -> None:
        """Stop all processes: signal all but the first at once, end the first one last."""
        for process in reversed(self.processes[1:]):
            process.child.ask_to_stop()
        while self.processes:
            self.processes.pop().child.stop()


def read_states(folder: Path) -> Sequence[dict[str, Any]] | None:
    """Return the states that a running supervisor has written, None without one."""
    try:
        content = json.loads((folder / STATES_FILE).read_text())
        processes: list[dict[str, Any]] = content["processes"]
        is_fresh = time.time() - float(content["at"]) < STALE_AFTER_S
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return processes if is_fresh else None
