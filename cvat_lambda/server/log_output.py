"""Print the logs of the server's processes, for containers and services that collect the output."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

_LONGEST_READ = 2**20  # bytes of one log at a time


@dataclass(slots=True, kw_only=True)
class LogOutput:
    """Copies complete lines that are new in the logs of a folder to an output."""

    folder: Path
    output: IO[str]
    prefix: bool  # begin each line with the name of the process
    _offsets: dict[Path, int] = field(default_factory=dict)

    def copy_new_lines(self) -> None:
        """Write the lines that were added to the logs since the last call."""
        for path in sorted(self.folder.glob("*.log")):
            for line in self._new_lines(path):
                name = f"{path.stem}: " if self.prefix else ""
                self.output.write(f"{name}{line}\n")
        self.output.flush()

    def _new_lines(self, path: Path) -> list[str]:
        offset = self._offsets.get(path, 0)
        try:
            with path.open("rb") as log:
                if log.seek(0, 2) < offset:
                    offset = 0  # the log was started anew
                log.seek(offset)
                read = log.read(_LONGEST_READ)
        except FileNotFoundError:
            return []
        complete = read if len(read) == _LONGEST_READ else read[: read.rfind(b"\n") + 1]
        self._offsets[path] = offset + len(complete)
        return complete.decode(errors="replace").splitlines()
