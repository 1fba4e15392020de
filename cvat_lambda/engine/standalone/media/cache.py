"""A folder of bounded size with files that this host has downloaded from the object store.

A file gets its name when it is complete. The least recently used files are deleted first. A
process that has opened a deleted file can still read it.
"""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Final

from django.conf import settings
from django.core.files.storage import Storage

from cvat_lambda.engine.standalone.conf import engine_settings

_SCAN_AGAIN_AFTER: Final = 0.1  # share of the limit that is downloaded between two scans
_lock: Final = threading.Lock()
_state: Final = {"unscanned": 0.0}  # bytes downloaded since the last scan; infinite: none yet
_state["unscanned"] = float("inf")


def root() -> Path:
    """Return the folder of the cache."""
    return Path(settings.MEDIA_ROOT) / "engine" / "cache"


def fetch(store: Storage, key: str) -> Path:
    """Return an object as a file; download it if needed. Raise what the storage raises."""
    target = root() / key
    with suppress(FileNotFoundError):
        os.utime(target)  # the last use
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
    try:
        with store.open(key, "rb") as source, draft.open("wb") as sink:
            for block in source.chunks():
                sink.write(block)
        size = draft.stat().st_size
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _make_room(size, kept=target)
    return target


def forget(prefix: str) -> None:
    """Delete the files below a prefix."""
    shutil.rmtree(root() / prefix, ignore_errors=True)


def _make_room(added: int, *, kept: Path) -> None:
    """Delete files until the cache is within its limit; scan the folder only now and then."""
    limit = engine_settings.MEDIA_CACHE_BYTES
    with _lock:
        _state["unscanned"] += added
        if _state["unscanned"] < limit * _SCAN_AGAIN_AFTER:
            return
        _state["unscanned"] = 0.0
        files = []
        for path in root().rglob("*"):
            with suppress(FileNotFoundError):  # another process deleted it
                if path.is_file():
                    facts = path.stat()
                    files.append((facts.st_mtime, facts.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files, key=lambda item: item[0]):
            if total <= limit * (1 - _SCAN_AGAIN_AFTER):
                return
            if path != kept:
                path.unlink(missing_ok=True)
                total -= size
