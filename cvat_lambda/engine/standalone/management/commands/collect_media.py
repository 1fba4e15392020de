"""``manage.py collect_media``: delete media files that belong to no task."""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.media import storage


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
        limit = time.time() - options["hours"] * 3600
        known = set(models.Data.objects.values_list("folder", flat=True))
        busy = models.DataRequest.objects.filter(
            status__in=(models.RequestStatus.QUEUED, models.RequestStatus.STARTED)
        )
        uploading = {str(task_id) for task_id in busy.values_list("task_id", flat=True)}
        folders = [
            *(folder for folder in _folders(storage.data_root()) if folder.name not in known),
            *(folder for folder in _folders(storage.upload_root()) if folder.name not in uploading),
        ]
        stale = [folder for folder in folders if _changed_at(folder) < limit]
        for folder in stale:
            shutil.rmtree(folder, ignore_errors=True)
        self.stdout.write(f"Deleted {len(stale)} folders without a task.")


def _folders(root: Path) -> Iterator[Path]:
    if root.is_dir():
        yield from (path for path in root.iterdir() if path.is_dir())


def _changed_at(folder: Path) -> float:
    times = [path.stat().st_mtime for path in (folder, *folder.rglob("*")) if path.exists()]
    return max(times, default=0.0)
