"""What is given as a source of frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cvat_lambda.errors import InvalidRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file to take frames from."""

    path: Path
    name: str  # as the uploader calls it, folders with "/"


def check_names(names: Iterable[str]) -> None:
    """Raise InvalidRequest on a name that is there twice: one of the two would get lost."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidRequest(f"file '{name}' is there twice; names must differ")
        seen.add(name)
