"""Collect the metrics of all processes at scrape time, those of ended processes included.

prometheus_client's multiprocess mode leaves files for each process, which count for ever, and RQ
forks a process for each job. The counts of ended processes are therefore added up in one file for
each machine, and the files are deleted. Otherwise a scrape would read a file for every job that
ever ran.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
_KINDS: Final = ("counter", "histogram")  # of these, what an ended process counted stays true
_HOST: Final = socket.gethostname().replace("_", "-")  # the client library splits names there
_TOTALS: Final = "-ended.json"
Labels: TypeAlias = tuple[tuple[str, str], ...]


def identity() -> str:
    """Return this process' part of its files' names; containers may share the folder."""
    return f"{_HOST}-{os.getpid()}"


def folder() -> Path | None:
    """Return the folder of the files; None if each process counts for itself."""
    named = os.environ.get(FOLDER)
    return Path(named) if named else None


class SumCollector:
    """Collects the sums over all processes of all machines that share the folder."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; prometheus_client calls this for each scrape."""
        sums = Sums()
        with _locked(self._place):
            _add_up(self._place)
            sums.add(_merged(self._place.glob("*.db")))
            for path in self._place.glob(f"*{_TOTALS}"):
                sums.load(json.loads(path.read_text())["metrics"])
        yield from sums.metrics()


def add_up_ended(place: Path) -> None:
    """Add what ended processes of this machine have counted to its totals."""
    with _locked(place):
        _add_up(place)


class Sums:
    """Sums of samples, by metric, sample name and labels."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[str, str]] = {}  # documentation and type, by metric
        self._values: dict[str, dict[tuple[str, Labels], float]] = {}

    def add(self, metrics: Iterable[Metric]) -> None:
        """Add the samples of metrics."""
        for metric in metrics:
            self._kinds[metric.name] = (metric.documentation, metric.type)
            values = self._values.setdefault(metric.name, {})
            for sample in metric.samples:
                key = sample.name, tuple(sample.labels.items())
                values[key] = values.get(key, 0.0) + sample.value

    def load(self, stored: dict[str, Any]) -> None:
        """Add what `dump` returned."""
        for name, (documentation, kind, samples) in stored.items():
            metric = Metric(name, documentation, kind)
            for sample, labels, value in samples:
                metric.add_sample(sample, labels, value)
            self.add([metric])

    def dump(self) -> dict[str, Any]:
        """Return the sums as JSON values."""
        return {
            name: [*self._kinds[name], [[s, dict(labels), v] for (s, labels), v in values.items()]]
            for name, values in self._values.items()
        }

    def metrics(self) -> Iterator[Metric]:
        """Yield the sums as metrics."""
        for name, values in self._values.items():
            metric = Metric(name, *self._kinds[name])
            for (sample, labels), value in values.items():
                metric.add_sample(sample, dict(labels), value)
            yield metric


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    with open(place / "lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _add_up(place: Path) -> None:
    """Add the files of ended processes to the totals; the caller holds the lock.

    The totals name the files that they include. If the process is killed before it has deleted
    them, the next one deletes them and does not count them again.
    """
    totals = place / f"{_HOST}{_TOTALS}"
    stored = json.loads(totals.read_text()) if totals.exists() else {"files": [], "metrics": {}}
    for name in stored["files"]:
        (place / name).unlink(missing_ok=True)
    ended = [
        path for kind in _KINDS for path in place.glob(f"{kind}_{_HOST}-*.db") if _has_ended(path)
    ]
    if not ended and not stored["files"]:
        return
    sums = Sums()
    sums.load(stored["metrics"])
    sums.add(_merged(ended))
    new = totals.with_suffix(".new")
    for files in ([path.name for path in ended], []):
        new.write_text(json.dumps({"files": files, "metrics": sums.dump()}))
        new.replace(totals)
        for path in ended:
            path.unlink(missing_ok=True)


def _merged(paths: Iterable[Path]) -> list[Metric]:
    files = [str(path) for path in paths]
    return list(MultiProcessCollector.merge(files)) if files else []


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
