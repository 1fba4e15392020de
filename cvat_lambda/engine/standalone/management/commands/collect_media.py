"""``manage.py collect_media``: delete media files that belong to no task."""

from __future__ import annotations

import argparse
import shutil
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.media import storage
from cvat_lambda.engine.standalone.media.upload_copies import remove_stale


class Command(BaseCommand):
    help = "Delete media folders that belong to no task, and uploads that were never finished."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--hours",
            type=float,
            default=24.0,
            help="delete only what did not change for so long (default 24)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        limit = timezone.now() - timedelta(hours=options["hours"])
        known = set(models.Data.objects.values_list("folder", flat=True))
        busy = models.DataRequest.objects.filter(
            status__in=(models.RequestStatus.QUEUED, models.RequestStatus.STARTED)
        )
        uploading = {str(task_id) for task_id in busy.values_list("task_id", flat=True)}
        media = [name for name, changed_at in storage.stored_folders(known) if changed_at < limit]
        uploads = [
            folder
            for folder in storage.subfolders(storage.upload_root())
            if folder.name not in uploading and storage.last_change(folder) < limit
        ]
        for name in media:
            storage.remove_folder(name)
        for folder in uploads:
            shutil.rmtree(folder, ignore_errors=True)
        if (store := storage.object_store()) is not None:
            stale = storage.stale_uploads(store, limit)
            remove_stale(store, sorted(stale - uploading))
        self.stdout.write(f"Deleted {len(media) + len(uploads)} folders without a task.")
