"""Delete the files of deleted rows."""

from __future__ import annotations

import shutil
from contextlib import suppress

from django.db import transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.media import storage
from cvat_lambda.engine.standalone.media.upload_copies import remove_stale
from cvat_lambda.errors import EngineUnavailable


@receiver(post_delete, sender=models.Data)
def remove_media(instance: models.Data, **_: object) -> None:
    """Delete the files of deleted media when the transaction is committed."""
    folder = instance.folder
    transaction.on_commit(lambda: storage.remove_folder(folder))


@receiver(post_delete, sender=models.Task)
def remove_uploads(instance: models.Task, **_: object) -> None:
    """Delete the files that were uploaded for a deleted task and did not become its frames."""
    task_id = instance.pk

    def remove() -> None:
        shutil.rmtree(storage.upload_folder(task_id), ignore_errors=True)
        if (store := storage.object_store()) is not None:
            with suppress(EngineUnavailable):  # `collect_media` deletes them later
                remove_stale(store, [str(task_id)])

    transaction.on_commit(remove)
