"""Where the media of tasks are kept: a folder below MEDIA_ROOT, or an object store.

Django's storage ``STORAGES["media"]`` names an object store. Without it the folder on disk is the
storage. With it, each file of a task is an object, and a host downloads a file into a bounded
cache below MEDIA_ROOT before it reads the file. Files of a task never change.
"""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from django.conf import settings
from django.core.files import File
from django.core.files.storage import Storage, storages

from cvat_lambda.engine.standalone.media import cache
from cvat_lambda.errors import EngineUnavailable, is_disk_full

logger = logging.getLogger(__name__)

ROOT = "engine"
ORIGINAL = "original"  # as uploaded
DISPLAYED = "upright"  # copies that are shown in place of the uploaded files
ALIAS: Final = "media"  # of the object store in Django's setting STORAGES
CONNECTIONS: Final = 8  # connections to the object store, for one reader or one upload
UNREACHABLE: Final = "the storage of this task's frames does not answer"


def object_store() -> Storage | None:
    """Return the storage that all hosts share, None if media are files of this host."""
    return storages[ALIAS] if ALIAS in storages.backends else None


def data_root() -> Path:
    """Return the folder of the media of all tasks."""
    return Path(settings.MEDIA_ROOT) / ROOT / "data"


def data_folder(name: str) -> Path:
    """Return the folder of one task's media. With an object store: until they are published."""
    return data_root() / name


def new_folder() -> str:
    """Create an empty folder for media; return its name."""
    name = uuid.uuid4().hex
    (data_folder(name) / ORIGINAL).mkdir(parents=True)
    return name


def publish(name: str, on_progress: Callable[[], None] | None = None) -> None:
    """Move a complete folder to the object store, if there is one. Raise EngineUnavailable."""
    store = object_store()
    if store is None:
        return
    folder = data_folder(name)

    def save(path: Path) -> None:
        with path.open("rb") as source:
            store.save(_key(name, path.relative_to(folder).as_posix()), File(source))

    with store_errors(), ThreadPoolExecutor(CONNECTIONS) as pool:
        for _ in pool.map(save, [path for path in folder.rglob("*") if path.is_file()]):
            if on_progress is not None:
                on_progress()
    shutil.rmtree(folder, ignore_errors=True)


def local_file(name: str, path: str) -> Path:
    """Return a file of a task's media on this host's disk.

    Raise FileNotFoundError if this file is missing, EngineUnavailable if the storage is.
    """
    store = object_store()
    if store is not None:
        key = _key(name, path)
        with store_errors():
            return cache.fetch(store, key)
    found = data_folder(name) / path
    if not found.is_file():
        if not data_folder(name).is_dir():
            raise EngineUnavailable(UNREACHABLE)
        raise FileNotFoundError(path)
    return found


def remove_folder(name: str) -> None:
    """Remove a task's media, if they exist.

    If the object store does not answer, the files stay until `collect_media` finds them.
    """
    if not name:
        return
    shutil.rmtree(data_folder(name), ignore_errors=True)
    store = object_store()
    if store is None:
        return
    cache.forget(_folder_key(name))
    try:
        with store_errors():
            for key in list(objects(store, _folder_key(name))):
                store.delete(key)
    except EngineUnavailable:
        logger.warning("media '%s' could not be deleted from the object store", name)


def fetch_ahead(name: str, paths: Sequence[str]) -> Iterator[str]:
    """Yield the paths. With an object store, download the next files in parallel.

    A file that cannot be downloaded is tried again by `local_file`, which raises the error.
    """
    if object_store() is None:
        yield from paths
        return

    def fetch(path: str) -> None:
        with suppress(FileNotFoundError, EngineUnavailable):
            local_file(name, path)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        started = [pool.submit(fetch, path) for path in paths[:CONNECTIONS]]
        try:
            for number, path in enumerate(paths):
                started[number].result()
                if number + CONNECTIONS < len(paths):
                    started.append(pool.submit(fetch, paths[number + CONNECTIONS]))
                yield path
        finally:
            pool.shutdown(cancel_futures=True)


def stored_folders(known: Collection[str]) -> list[tuple[str, datetime]]:
    """Return the names of stored media that are not ``known``, with the time of the last change.

    With an object store the folders that only this host has are included: their publication was
    interrupted. Raise EngineUnavailable.
    """
    found = {
        path.name: last_change(path) for path in subfolders(data_root()) if path.name not in known
    }
    store = object_store()
    if store is not None:
        with store_errors():
            for name in store.listdir(_data_prefix())[0]:
                if name and name not in known:
                    found[name] = max(
                        map(store.get_modified_time, objects(store, _folder_key(name)))
                    )
    return list(found.items())


def stale_uploads(store: Storage, limit: datetime) -> set[str]:
    """Return the tasks whose uploads in the object store did not change since a time."""
    with store_errors():
        return {
            task_id
            for task_id in store.listdir(upload_prefix())[0]
            if task_id
            and max(map(store.get_modified_time, objects(store, f"{upload_prefix()}/{task_id}")))
            < limit
        }


def upload_prefix() -> str:
    """Return the prefix of all unfinished uploads in the object store."""
    return f"{ROOT}/uploads"


def upload_root() -> Path:
    """Return the folder of all unfinished uploads."""
    return Path(settings.MEDIA_ROOT) / ROOT / "uploads"


def upload_folder(task_id: int) -> Path:
    """Return the folder of the files that are uploaded for a task."""
    return upload_root() / str(task_id)


def folder_bytes(name: str) -> int:
    """Return the size in bytes of a task's media. Raise EngineUnavailable."""
    store = object_store()
    if store is not None and not data_folder(name).is_dir():
        with store_errors():
            return sum(store.size(key) for key in objects(store, _folder_key(name)))
    return sum(path.stat().st_size for path in data_folder(name).rglob("*") if path.is_file())


def subfolders(root: Path) -> list[Path]:
    """Return the folders in a folder, which may be missing."""
    return [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []


def last_change(folder: Path) -> datetime:
    """Return the time of the last change in a folder."""
    times = [path.stat().st_mtime for path in (folder, *folder.rglob("*")) if path.exists()]
    return datetime.fromtimestamp(max(times, default=0.0), timezone.utc)


def _data_prefix() -> str:
    return f"{ROOT}/data"


def _folder_key(name: str) -> str:
    return f"{_data_prefix()}/{name}"


def _key(name: str, path: str) -> str:
    return f"{_folder_key(name)}/{path}"


def objects(store: Storage, prefix: str) -> Iterator[str]:
    """Yield the names of all objects below a prefix."""
    folders, files = store.listdir(prefix)
    yield from (f"{prefix}/{file}" for file in files if file)
    for folder in folders:
        if folder:
            yield from objects(store, f"{prefix}/{folder}")


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn an error of the object store into EngineUnavailable; a missing object stays one.

    Storage classes raise the errors of their client library, which have no common base class.
    An error of this host's disk, such as a full one, is not changed.
    """
    try:
        yield
    except (FileNotFoundError, EngineUnavailable):
        raise
    except Exception as exc:
        if is_disk_full(exc):
            raise
        raise EngineUnavailable(UNREACHABLE) from exc
