"""The files of exports: below MEDIA_ROOT, or in the object store that hosts share."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.files import File

from cvat_lambda.engine.standalone.media import storage
from cvat_lambda.engine.standalone.models import Exchange


def draft_path(export: Exchange) -> Path:
    """Return where to write the file of an export on this host."""
    folder = Path(settings.MEDIA_ROOT) / storage.ROOT / "exports"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{export.pk.hex}.part"


def publish(export: Exchange) -> None:
    """Make a complete file available to all hosts."""
    draft = draft_path(export)
    store = storage.object_store()
    if store is None:
        draft.replace(draft.with_suffix(".zip"))
        return
    with draft.open("rb") as source:
        store.save(_key(export), File(source))
    draft.unlink()


def opened(export: Exchange) -> IO[Any]:
    """Open the file. Raise FileNotFoundError."""
    store = storage.object_store()
    if store is None:
        return draft_path(export).with_suffix(".zip").open("rb")
    if not store.exists(_key(export)):
        raise FileNotFoundError(_key(export))
    return store.open(_key(export))


def remove(export: Exchange) -> None:
    """Delete the file, if it exists."""
    draft_path(export).unlink(missing_ok=True)
    draft_path(export).with_suffix(".zip").unlink(missing_ok=True)
    store = storage.object_store()
    if store is not None:
        store.delete(_key(export))


def _key(export: Exchange) -> str:
    return f"{storage.ROOT}/exports/{export.pk.hex}.zip"
