"""The ids of the functions below a folder. The standard library suffices to read them."""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(
    r"^metadata:[^\n]*\n(?:[ \t#][^\n]*\n|\n)*?[ \t]+name:[ \t]*[\"']?([\w.-]+)", re.M
)


# A folder with a file for the GPU alone is a function folder, too.
FUNCTION_FILES = ("function.yaml", "function.yml", "function-gpu.yaml", "function-gpu.yml")


def function_files(folder: Path) -> list[Path]:
    """Return the file of each function folder below ``folder``, by path."""
    chosen: dict[Path, Path] = {}
    for name in FUNCTION_FILES:
        for path in folder.rglob(name):
            chosen.setdefault(path.parent, path)
    return [chosen[place] for place in sorted(chosen)]


def function_ids(folder: Path) -> tuple[str, ...]:
    """Return the ids that the function files below ``folder`` declare, sorted.

    As in the runtime, of the files of one folder the first of FUNCTION_FILES counts.
    """
    found = set()
    for path in function_files(folder):
        try:
            match = _NAME.search(path.read_text())
        except (OSError, UnicodeDecodeError):
            continue  # the runtime lists it in state `error`
        if match is not None:
            found.add(match[1])
    return tuple(sorted(found))
