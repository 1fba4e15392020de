"""Whether the cloud storage that a task's images are in answers."""

from __future__ import annotations

from typing import Any

from cvat.apps.engine import models
from cvat.apps.engine.cloud_provider import Status, db_storage_to_storage_instance


def is_in_cloud(task_id: int) -> bool:
    """Whether CVAT fetches a task's images from a cloud storage."""
    return bool(_data(task_id).exists())


def is_away(task_id: int) -> bool:
    """Whether the cloud storage of such a task cannot be used now; it is asked, which takes time.

    CVAT itself has one word, "not found", for a storage that is gone and one that is not reached.
    """
    row = _data(task_id).select_related("cloud_storage").first()
    if row is None or row.cloud_storage is None:
        return False
    try:
        found = db_storage_to_storage_instance(row.cloud_storage).get_status()
    except Exception:  # each provider's client has errors of its own
        return True
    return bool(found != Status.AVAILABLE)


def _data(task_id: int) -> Any:
    return models.Data.objects.filter(
        task__in=[task_id], storage=models.StorageChoice.CLOUD_STORAGE
    )
