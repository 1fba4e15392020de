"""The files of Prometheus' multiprocess mode: a set for each process, joined when it has ended.

RQ forks a process for each job, and each leaves files behind that count for ever. They are added
up into one file a kind and machine, or a scrape would read one for every job that ever ran.
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
    """What a process is called in the names of its files; containers may share the folder."""
    return f"{_HOST}-{os.getpid()}"


def folder() -> Path | None:
    """Where the files are; None where each process counts for itself."""
    named = os.environ.get(FOLDER)
    return Path(named) if named else None


@contextmanager
def gathered(place: Path) -> Iterator[None]:
    """Join what ended processes of this machine have left, and keep the files as they are."""
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
