"""What ``new`` was told for a folder, so that the folder can be written again after a training.

The file is neither deployed nor part of the revision: it names paths of this machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cvat_lambda.runtime.paths import ORIGIN_FILE

_NOT_OPTIONS: Final = frozenset({"into", "update"})  # the folder itself gives them
_MAY_BE_PATHS: Final = ("weights", "model", "labels", "keypoints")


def record(folder: Path, options: Mapping[str, Any]) -> None:
    """Store the options with which a folder was written."""
    kept = {
        name: value
        for name, value in options.items()
        if name not in _NOT_OPTIONS and isinstance(value, (str, int, float, type(None)))
    }
    for name in _MAY_BE_PATHS:
        path = _existing(kept.get(name))
        if path is not None:
            kept[name] = str(path.absolute())
    text = json.dumps(kept, indent=2, ensure_ascii=False) + "\n"
    (folder / ORIGIN_FILE).write_text(text, encoding="utf-8")


def read(folder: Path) -> dict[str, Any] | None:
    """Return the options that write a folder again, None if ``new`` did not write it."""
    try:
        options = json.loads((folder / ORIGIN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(options, dict):
        return None
    return {**options, "into": folder.absolute().parent, "update": True}


def sources(options: Mapping[str, Any]) -> list[Path]:
    """Return the files and folders of this machine that the options name, existing or not."""
    given = (options.get(name) for name in _MAY_BE_PATHS)
    return [Path(value) for value in given if isinstance(value, str) and value.startswith("/")]


def _existing(value: object) -> Path | None:
    if not isinstance(value, str):
        return None
    path = Path(value).expanduser()
    try:
        return path if path.exists() else None
    except OSError:  # names of labels that are too long for a path
        return None
