"""Copies of unfinished uploads in the object store, so that another web host can continue them.

Each received part of a file becomes an object, whose name has the part's first byte and the byte
after its last one: ``engine/uploads/TASK/KEY/START-END``. ``KEY/note`` has the name of the file.
Without an object store nothing is copied: the folder is the only place, and hosts may share it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from django.core.files.base import ContentFile
from django.core.files.storage import Storage

from cvat_lambda.engine.standalone.media import storage

NOTE: Final = "note"
PART_BYTES: Final = 16 * 2**20  # of one object


class UploadCopies:
    """The copies of the files in one folder of uploads. Methods raise EngineUnavailable."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        below = folder.relative_to(storage.upload_root()).as_posix()
        self._prefix = f"{storage.upload_prefix()}/{below}"
        self._store = storage.object_store()

    def save(self, key: str, *, is_new: bool = False) -> None:
        """Copy what the object store lacks of a file, then its note. The store has none if new."""
        if self._store is None:
            return
        with storage.store_errors():
            names = [] if is_new else list(storage.objects(self._store, f"{self._prefix}/{key}"))
            stored = max((end for _, end, _ in _parts(names)), default=0)
            path = self._path(key)
            with path.open("rb") as source:
                source.seek(stored)
                while block := source.read(PART_BYTES):
                    name = f"{self._prefix}/{key}/{stored:015d}-{stored + len(block):015d}"
                    self._store.save(name, ContentFile(block))
                    stored += len(block)
            if not any(name.endswith(f"/{NOTE}") for name in names):
                note = (self._folder / f"{key}.json").read_bytes()
                self._store.save(f"{self._prefix}/{key}/{NOTE}", ContentFile(note))

    def load(self) -> None:
        """Make the folder equal to the copies: fetch what other hosts received, delete the rest.

        The caller must exclude other processes of this host.
        """
        if self._store is None:
            return
        with storage.store_errors():
            found: dict[str, list[str]] = {}
            for name in storage.objects(self._store, self._prefix):
                key, _, rest = name.removeprefix(f"{self._prefix}/").partition("/")
                if "/" not in rest:  # else it is of a subfolder
                    found.setdefault(key, []).append(name)
            for key, names in found.items():
                if any(name.endswith(f"/{NOTE}") for name in names):
                    self._load_file(self._store, key, names)
        for path in self._folder.glob("*.json"):
            if path.stem not in found:  # it became frames, or was deleted, on another host
                for suffix in (".json", ".part", ".file"):
                    path.with_suffix(suffix).unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete the copies, also those of subfolders."""
        if self._store is None:
            return
        with storage.store_errors():
            for name in list(storage.objects(self._store, self._prefix)):
                self._store.delete(name)

    def _path(self, key: str) -> Path:
        complete = self._folder / f"{key}.file"
        return complete if complete.exists() else self._folder / f"{key}.part"

    def _load_file(self, store: Storage, key: str, names: Iterable[str]) -> None:
        path = self._path(key)
        if path.suffix == ".file":
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as sink:
            for start, end, name in sorted(_parts(names)):
                if start <= sink.tell() < end:
                    with store.open(name, "rb") as source:
                        source.seek(sink.tell() - start)
                        shutil.copyfileobj(source, sink)
        note = self._folder / f"{key}.json"
        if not note.exists():
            draft = note.with_suffix(".new")
            with store.open(f"{self._prefix}/{key}/{NOTE}", "rb") as source:
                draft.write_bytes(source.read())
            os.replace(draft, note)


def remove_stale(store: Storage, task_ids: Iterable[str]) -> None:
    """Delete the copies of the uploads for these tasks. Raise EngineUnavailable."""
    with storage.store_errors():
        for task_id in task_ids:
            for name in list(storage.objects(store, f"{storage.upload_prefix()}/{task_id}")):
                store.delete(name)


def _parts(names: Iterable[str]) -> list[tuple[int, int, str]]:
    """Return the bounds of each part and the name of its object."""
    found = []
    for name in names:
        start, _, end = name.rpartition("/")[2].partition("-")
        if end:
            found.append((int(start), int(end), name))
    return found
