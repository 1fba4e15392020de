"""Merge the files that prometheus_client's multiprocess mode leaves for each ended process.

RQ forks a process for each job, and each process leaves files that count for ever. Their sum is
kept in one file for each kind of metric and machine. Otherwise a scrape would read a file for
every job that ever ran.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from prometheus_client.mmap_dict import MmapedDict

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
_KINDS: Final = ("counter", "histogram")
_HOST: Final = socket.gethostname().replace("_", "-")  # the client library splits names there


def identity() -> str:
    """Return this process' part of its files' names; containers may share the folder."""
    return f"{_HOST}-{os.getpid()}"


def folder() -> Path | None:
    """Return the folder of the files; None if each process counts for itself."""
    named = os.environ.get(FOLDER)
    return Path(named) if named else None


@contextmanager
def gathered(place: Path) -> Iterator[None]:
    """Merge the files of ended processes of this machine, and lock the folder in this block."""
    with open(place / "lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for kind in _KINDS:
            ended = [path for path in place.glob(f"{kind}_{_HOST}-*.db") if _has_ended(path)]
            if ended:
                _join(place / f"{kind}_{_HOST}-ended.db", ended)
        yield


def _has_ended(path: Path) -> bool:
    match = re.search(r"-(\d+)\.db$", path.name)
    if match is None:
        return False
    try:
        os.kill(int(match[1]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _join(total: Path, parts: Iterable[Path]) -> None:
    new = total.with_suffix(".new")
    new.unlink(missing_ok=True)
    if total.exists():
        shutil.copyfile(total, new)
    sums = MmapedDict(str(new))
    for part in parts:
        for key, value, *_ in MmapedDict.read_all_values_from_file(str(part)):
            sums.write_value(key, sums.read_value(key)[0] + value, 0.0)
    sums.close()
    new.replace(total)
    for part in parts:
        part.unlink()
