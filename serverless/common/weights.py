"""Where a function finds its weights files."""

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

    The environment variable ``env``, when it is set, names a local file that wins, or the folder
    that holds the file, as for CVAT's own functions. Raises WeightsMissing, saying where it was
    looked for, when there is no such file.
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
