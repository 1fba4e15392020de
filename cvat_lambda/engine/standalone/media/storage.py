"""Folders below MEDIA_ROOT: the media of tasks, and uploads that are not tasks' media yet."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from django.conf import settings

ROOT = "engine"
ORIGINAL = "original"  # as uploaded
UPRIGHT = "upright"  # turned copies of what EXIF says to turn


def data_root() -> Path:
    """Where the media of all tasks lie."""
    return Path(settings.MEDIA_ROOT) / ROOT / "data"


def data_folder(name: str) -> Path:
    """The folder of one task's media."""
    return data_root() / name


def new_folder() -> str:
    """Make an empty folder for media; its name."""
    name = uuid.uuid4().hex
    (data_folder(name) / ORIGINAL).mkdir(parents=True)
    return name


def remove_folder(name: str) -> None:
    """Remove a task's media; what is gone already is no error."""
    if name:
        shutil.rmtree(data_folder(name), ignore_errors=True)


def upload_folder(task_id: int) -> Path:
    """Where files wait that are uploaded for a task."""
    return Path(settings.MEDIA_ROOT) / ROOT / "uploads" / str(task_id)
