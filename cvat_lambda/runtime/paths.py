"""Where the runtime keeps what it may make again: environments, weights, logs."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from cvat_lambda.runtime.cancellation import LOOK_S, pause


def cache_folder() -> Path:
    """Return this user's cache: CVAT_LAMBDA_CACHE, else below XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get("CVAT_LAMBDA_CACHE")
    if own:
        return Path(own).expanduser().resolve()
    shared = os.environ.get("XDG_CACHE_HOME")
    return ((Path(shared) if shared else Path.home() / ".cache") / "cvat_lambda").absolute()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes for as long as the block runs; raises Cancelled."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        while not _taken(file):
            pause(LOOK_S)
        yield


def _taken(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def digest(*parts: str | bytes) -> str:
    """Return 64 hexadecimal digits that stand for all the parts, in order."""
    total = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        total.update(len(raw).to_bytes(8, "big"))
        total.update(raw)
    return total.hexdigest()
