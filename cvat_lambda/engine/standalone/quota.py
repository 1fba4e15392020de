"""Limits on disk space: the quota of each user, and the free space that must remain."""

from __future__ import annotations

import shutil
from pathlib import Path

from django.conf import settings

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.conf import engine_settings
from cvat_lambda.engine.standalone.media import storage
from cvat_lambda.engine.standalone.staging import Staging
from cvat_lambda.errors import DiskFull, PayloadTooLarge


def require_space(task: models.Task, more_bytes: int) -> None:
    """Check that an upload of this size may be stored. Raise DiskFull, PayloadTooLarge."""
    if free_bytes(Path(settings.MEDIA_ROOT)) - more_bytes < engine_settings.MIN_FREE_DISK_BYTES:
        raise DiskFull
    quota = engine_settings.USER_QUOTA_BYTES
    if quota <= 0 or task.owner_id is None:
        return
    used = used_bytes(task.owner_id)
    if used + more_bytes > quota:
        raise PayloadTooLarge(
            f"the owner of task #{task.pk} may store {quota} bytes, and {used} are in use"
        )


def used_bytes(owner_id: int) -> int:
    """Return the size in bytes of an owner's tasks and unfinished uploads."""
    total = 0
    tasks = models.Task.objects.filter(owner_id=owner_id)
    for data in models.Data.objects.filter(task__in=tasks).only("size_bytes", "folder"):
        if not data.size_bytes:  # created before sizes were stored
            data.size_bytes = storage.folder_bytes(data.folder)
            models.Data.objects.filter(pk=data.pk).update(size_bytes=data.size_bytes)
        total += data.size_bytes
    unfinished = tasks.filter(data__isnull=True).values_list("pk", flat=True)
    return total + sum(Staging(task_id).size_bytes() for task_id in unfinished)


def free_bytes(folder: Path) -> int:
    """Return the free space of a folder's disk. The folder may not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
