"""Folders below MEDIA_ROOT: the media of tasks, and uploads in progress."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from django.conf import settings

ROOT = "engine"
ORIGINAL = "original"  # as uploaded
DISPLAYED = "upright"  # copies that are shown in place of the uploaded files


def data_root() -> Path:
    """Return the folder of the media of all tasks."""
    return Path(settings.MEDIA_ROOT) / ROOT / "data"


def data_folder(name: str) -> Path:
    """Return the folder of one task's media."""
    return data_root() / name


def new_folder() -> str:
    """Create an empty folder for media; return its name."""
    name = uuid.uuid4().hex
    (data_folder(name) / ORIGINAL).mkdir(parents=True)
    return name


def remove_folder(name: str) -> None:
    """Remove a task's media, if they exist."""
    if name:
        shutil.rmtree(data_folder(name), ignore_errors=True)


def upload_root() -> Path:
    """Return the folder of all unfinished uploads."""
    return Path(settings.MEDIA_ROOT) / ROOT / "uploads"


def upload_folder(task_id: int) -> Path:
    """Return the folder of the files that are uploaded for a task."""
    return upload_root() / str(task_id)


def folder_bytes(name: str) -> int:
    """Return how many bytes the files of a task's media take."""
    return sum(path.stat().st_size for path in data_folder(name).rglob("*") if path.is_file())
