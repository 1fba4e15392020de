"""Stored proofs. A proof is valid while the digest of all its inputs is unchanged."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

IGNORED = {"__pycache__"}
LONGEST_NAME = 240  # characters; file systems allow 255 bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Proofs:
    """The digests of passed proofs, one file per proof in one folder."""

    folder: Path

    def holds(self, name: str, digest: str) -> bool:
        """Return whether the proof passed with the same inputs."""
        file = self._file(name)
        return file.exists() and file.read_text() == digest

    def keep(self, name: str, digest: str) -> None:
        """Store that the proof passed."""
        file = self._file(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(digest)

    def drop(self, name: str) -> None:
        """Forget that the proof passed, because it has failed since."""
        self._file(name).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self.folder / "".join(c if c.isalnum() else "-" for c in name)[:LONGEST_NAME]


def digest_of(paths: Iterable[Path], *more: str) -> str:
    """Return a digest of the names and contents of files and of all files in folders.

    Links are followed: `common` in a function's folder is one.
    """
    total = hashlib.sha256()
    for text in more:
        total.update(f"{text}\0".encode())
    for path in paths:
        for file in [path] if path.is_file() else _files_below(path):
            total.update(f"{path.name}/{os.path.relpath(file, path)}\0".encode())
            total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def _files_below(folder: Path) -> list[Path]:
    found = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name not in IGNORED]
        found += [Path(place, name) for name in names]
    return sorted(found)
