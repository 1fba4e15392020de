"""``deploy --watch``: deploy function folders again when their files or their weights change."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from cvat_lambda.runtime.errors import RuntimeFault
from cvat_lambda.runtime.paths import files_below
from cvat_lambda.runtime.scaffold import new_folder, origin

POLL_INTERVAL_S: Final = 1.0

Facts = frozenset[tuple[str, int, int]]  # path, time of the last change in ns, size in bytes
Deploy = Callable[[Path], None]  # raises RuntimeFault
Write = Callable[[str], object]


class FolderWatch:
    """Notices changes of one function folder, and of the trained model that it was written from."""

    def __init__(self, folder: Path, deploy: Deploy) -> None:
        self.folder = folder
        self._deploy = deploy
        self._model = self._model_facts()
        self._files = _facts([folder])
        self._seen = (self._model, self._files)

    def poll(self, write: Write) -> None:
        """Deploy the folder if it changed and two polls found the same: else it is being written.

        Raise RuntimeFault if the deployment fails. The next change starts another one.
        """
        model, files = found = self._model_facts(), _facts([self.folder])
        settled, self._seen = found == self._seen, found
        if not settled or model is None or found == (self._model, self._files):
            return
        write(f"{self.folder.name} has changed")
        self._files = files
        options = origin.read(self.folder)
        if model != self._model and options is not None:
            self._model = model
            new_folder(options)
            self._files = _facts([self.folder])
        self._seen = (self._model, self._files)
        self._deploy(self.folder)

    def _model_facts(self) -> Facts | None:
        """Return the facts of the trained model; None while a file of it is missing."""
        paths = origin.sources(origin.read(self.folder) or {})
        return _facts(paths) if all(path.exists() for path in paths) else None


def watch(folders: Iterable[Path], deploy: Deploy, write: Write, write_error: Write) -> None:
    """Deploy changed folders until Ctrl-C. A deployment that fails does not end the watch."""
    watches = [FolderWatch(folder, deploy) for folder in folders]
    write(f"watching {len(watches)} function folder(s) for changes; Ctrl-C ends it")
    try:
        while True:
            time.sleep(POLL_INTERVAL_S)
            for each in watches:
                try:
                    each.poll(write)
                except RuntimeFault as exc:
                    write_error(f"error: {exc}")
    except KeyboardInterrupt:
        write("stopped watching; the functions keep running")


def _facts(paths: Iterable[Path]) -> Facts:
    found = set()
    for path in paths:
        try:
            for file in files_below(path) if path.is_dir() else [path]:
                status = file.stat()
                found.add((str(file), status.st_mtime_ns, status.st_size))
        except OSError:
            continue  # a file was removed meanwhile: the next poll finds another state
    return frozenset(found)
