"""Folders and files of the runtime: its cache, locks between processes, files of a folder."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from cvat_lambda.runtime.cancellation import POLL_INTERVAL_S, check_cancelled, pause

ORIGIN_FILE: Final = ".new.json"  # what `new` was told; see scaffold/origin.py
_LEFT_OUT: Final = frozenset({"__pycache__", ".git", ".venv", ORIGIN_FILE})


def cache_folder() -> Path:
    """Return this user's cache: CVAT_LAMBDA_CACHE, or one in XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get("CVAT_LAMBDA_CACHE")
    if own:
        return Path(own).expanduser().resolve()
    shared = os.environ.get("XDG_CACHE_HOME")
    return ((Path(shared) if shared else Path.home() / ".cache") / "cvat_lambda").absolute()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes while the block runs; raise Cancelled."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        while not _try_lock(file):
            pause(POLL_INTERVAL_S)
        yield


def _try_lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def digest(*parts: str | bytes) -> str:
    """Return the SHA-256 of the parts in their order, as 64 hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        total.update(len(raw).to_bytes(8, "big"))
        total.update(raw)
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits; raise Cancelled."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):  # a file of weights may be large
            check_cancelled()
            total.update(block)
    return total.hexdigest()


def files_below(folder: Path, above: frozenset[Path] = frozenset()) -> list[Path]:
    """Return the files below a folder. Links are followed, but not to a folder above themselves."""
    real = folder.resolve()
    if real in above:
        return []
    found: list[Path] = []
    for entry in folder.iterdir():
        if entry.name in _LEFT_OUT:
            continue
        if entry.is_dir():
            found += files_below(entry, above | {real})
        elif entry.is_file():
            found.append(entry)
    return found
