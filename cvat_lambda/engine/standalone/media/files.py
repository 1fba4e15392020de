"""What is given as a source of frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file to take frames from."""

    path: Path
    name: str  # as the uploader calls it, folders with "/"
