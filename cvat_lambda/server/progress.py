"""A progress bar for a terminal; plain lines for other outputs."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TextIO


def duration(seconds: float) -> str:
    """Return seconds as text: ``1:15`` for 75."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


@dataclass(slots=True)
class ProgressBar:
    """One line that is redrawn; on a pipe or file, one line for each change."""

    stream: TextIO = field(default_factory=lambda: sys.stdout)
    width: int = 30
    _last: str = ""

    def show(
        self, *, done: int, failed: int, total: int, rate: float | None, eta_s: float | None
    ) -> None:
        """Draw the state: frames done and failed of ``total``, frames a second, seconds to go."""
        ended = done + failed
        filled = self.width * ended // total if total else self.width
        line = f"[{'#' * filled}{'.' * (self.width - filled)}] {ended}/{total} frames"
        if failed:
            line += f", {failed} failed"
        if rate:
            line += f", {rate:.1f} frames/s"
        if eta_s is not None:
            line += f", {duration(eta_s)} to go"
        if line == self._last:
            return
        if self.stream.isatty():
            self.stream.write(f"\r\x1b[K{line}")
        else:
            self.stream.write(f"{line}\n")
        self.stream.flush()
        self._last = line

    def end(self) -> None:
        """End the line."""
        if self.stream.isatty() and self._last:
            self.stream.write("\n")
            self.stream.flush()
