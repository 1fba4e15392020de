"""Paths and checksums of weights files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from common.errors import WeightsMissing

DEFAULT_FOLDER = "/opt/nuclio/weights"


def weights_folder() -> Path:
    """Return the folder that holds the weights (environment: CVAT_LAMBDA_WEIGHTS)."""
    return Path(os.environ.get("CVAT_LAMBDA_WEIGHTS", DEFAULT_FOLDER))


def weights_file(name: str, *, env: str | None = None) -> Path:
    """Return the path of the weights file ``name``.

    The environment variable ``env`` may name a local file, or the folder that holds it; it has
    precedence over the weights folder. Raises WeightsMissing when the file does not exist.
    """
    chosen = os.environ.get(env) if env else None
    path = Path(chosen) if chosen else weights_folder() / name
    path = path / name if path.is_dir() else path
    if not path.is_file():
        ways = "set CVAT_LAMBDA_WEIGHTS to the folder that holds it"
        ways += f" or {env} to the file itself" if env else ""
        raise WeightsMissing(f"weights file '{name}' is not at {path}; {ways}")
    return path


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
