"""Delete the files of deleted rows."""

from __future__ import annotations

import shutil

from django.db import transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.media import storage


@receiver(post_delete, sender=models.Data)
def remove_media(instance: models.Data, **_: object) -> None:
    """Delete the files of deleted media when the transaction is committed."""
    folder = instance.folder
    transaction.on_commit(lambda: storage.remove_folder(folder))


@receiver(post_delete, sender=models.Task)
def remove_uploads(instance: models.Task, **_: object) -> None:
    """Delete the files that were uploaded for a deleted task and did not become its frames."""
    folder = storage.upload_folder(instance.pk)
    transaction.on_commit(lambda: shutil.rmtree(folder, ignore_errors=True))
