"""The ids of the functions below a folder. The standard library suffices to read them."""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(
    r"^metadata:[^\n]*\n(?:[ \t#][^\n]*\n|\n)*?[ \t]+name:[ \t]*[\"']?([\w.-]+)", re.M
)


def function_ids(folder: Path) -> tuple[str, ...]:
    """Return the ids that the ``function.yaml`` files below ``folder`` declare, sorted."""
    found = set()
    for path in folder.rglob("function.yaml"):
        try:
            match = _NAME.search(path.read_text())
        except (OSError, UnicodeDecodeError):
            continue  # the runtime lists it in state `error`
        if match is not None:
            found.add(match[1])
    return tuple(sorted(found))
