"""The memory limit of the container or service (cgroup) in which the runtime runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CGROUP_VARIABLE: Final = "CVAT_LAMBDA_RUNTIME_CGROUP"
_ROOT: Final = Path("/sys/fs/cgroup")
_RECLAIMABLE: Final = ("inactive_file", "active_file", "slab_reclaimable")
_NO_LIMIT: Final = 2**60  # version 1 of cgroups writes a number above this one


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimit:
    """A limit that the kernel enforces: it kills a process when all together exceed it."""

    limit: int  # bytes
    folder: Path  # of the cgroup

    def available(self) -> int:
        """Return the bytes that the processes may still use. Cached files do not count as used."""
        version2 = self.folder / "memory.current"
        used = _number(version2 if version2.exists() else self.folder / "memory.usage_in_bytes")
        return self.limit - ((used or 0) - self._reclaimable())

    def _reclaimable(self) -> int:
        """Return the bytes of cached files, which the kernel frees when memory is needed."""
        facts = dict(line.split() for line in _text(self.folder / "memory.stat").splitlines())
        # In version 1 the names with this prefix include the cgroups below.
        prefix = "total_" if "total_inactive_file" in facts else ""
        return sum(int(facts.get(f"{prefix}{name}", 0)) for name in _RECLAIMABLE)


def find_memory_limit() -> MemoryLimit | None:
    """Return the lowest limit that applies to this process, None without a limit.

    The variable `CVAT_LAMBDA_RUNTIME_CGROUP` names the folder of another cgroup.
    """
    named = os.environ.get(CGROUP_VARIABLE)
    found = [limit for folder in _folders(named) if (limit := read_limit(folder)) is not None]
    return min(found, key=lambda limit: limit.limit, default=None)


def read_limit(folder: Path) -> MemoryLimit | None:
    """Return the limit of one cgroup, of version 2 or 1; None if it has none."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        value = _number(folder / name)
        if value is not None and value < _NO_LIMIT:
            return MemoryLimit(limit=value, folder=folder)
    return None


def _folders(named: str | None) -> list[Path]:
    """Return the cgroups of this process. In a container the root is the container's own."""
    if named:
        return [Path(named)]
    folders = [_ROOT, _ROOT / "memory"]
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            root = _ROOT / controllers
            own = root / path.lstrip("/")
            folders += [folder for folder in (own, *own.parents) if root in folder.parents]
    return folders


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
