"""Source files of frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cvat_lambda.errors import InvalidRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A source file of frames."""

    path: Path
    name: str  # name given by the client, folders separated by "/"


def check_names(names: Iterable[str]) -> None:
    """Raise InvalidRequest for a repeated name: one of the two files would be lost."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidRequest(f"file '{name}' occurs twice; names must be unique")
        seen.add(name)
