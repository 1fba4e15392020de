"""Find out whether the cloud storage of a task's images answers."""

from __future__ import annotations

from typing import Any

from cvat.apps.engine import models
from cvat.apps.engine.cloud_provider import Status, db_storage_to_storage_instance


def is_in_cloud(task_id: int) -> bool:
    """Return whether CVAT reads a task's images from a cloud storage."""
    return bool(_data(task_id).exists())


def is_unreachable(task_id: int) -> bool:
    """Return whether the cloud storage of a task cannot be reached. This may take seconds.

    CVAT reports "not found" both for a deleted storage and for one that cannot be reached.
    """
    row = _data(task_id).select_related("cloud_storage").first()
    if row is None or row.cloud_storage is None:
        return False
    try:
        found = db_storage_to_storage_instance(row.cloud_storage).get_status()
    except Exception:  # each provider's client raises other classes
        return True
    return bool(found != Status.AVAILABLE)


def _data(task_id: int) -> Any:
    return models.Data.objects.filter(
        task__in=[task_id], storage=models.StorageChoice.CLOUD_STORAGE
    )
