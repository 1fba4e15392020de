"""Exports and imports run in a thread of the web process; their state is in the database.

If the process dies, the next process that gets a query about the request runs it again.
"""

from __future__ import annotations

import json
import logging
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.db import connections
from django.db.models import Q
from django.utils import timezone

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.conf import engine_settings
from cvat_lambda.engine.standalone.editing import Editor
from cvat_lambda.engine.standalone.exchange import results
from cvat_lambda.engine.standalone.exchange.coco import FILE as COCO_FILE
from cvat_lambda.engine.standalone.exchange.dataset import safe_name
from cvat_lambda.engine.standalone.exchange.dataset_reader import images_of, read_dataset
from cvat_lambda.engine.standalone.exchange.formats import (
    format_for_export,
    format_for_import,
)
from cvat_lambda.engine.standalone.media.files import SourceFile
from cvat_lambda.engine.standalone.staging import Staging
from cvat_lambda.errors import DiskFull, InvalidRequest, LambdaError, StateConflict, is_disk_full

logger = logging.getLogger(__name__)

KEPT_FOR: Final = timedelta(days=1)  # exported files
MAX_FILE_BYTES: Final = 512 * 1024 * 1024  # of the JSON file of an import, unpacked
_HEARTBEAT_S: Final = 2.0
_BUSY: Final = (models.RequestStatus.QUEUED, models.RequestStatus.STARTED)

_pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="exchange")


def start_export(
    task: models.Task, job: models.Job | None, *, user_id: int | None, form: str, with_images: bool
) -> models.Exchange:
    """Begin an export. Raise InvalidRequest, StateConflict for a task without frames."""
    format_for_export(form)
    _require_frames(task)
    _remove_old()
    return _begin(
        models.Exchange.objects.create(
            kind=models.ExchangeKind.EXPORT,
            task=task,
            job=job,
            user_id=user_id,
            format=form,
            with_images=with_images,
        )
    )


def start_import(
    task: models.Task, job: models.Job | None, *, user_id: int | None, form: str
) -> models.Exchange:
    """Begin to replace the annotations by those of the uploaded file.

    Raise InvalidRequest, StateConflict.
    """
    format_for_import(form)
    _require_frames(task)
    staged = Staging(task.pk, staged_part(job))
    staged.require_complete()
    if len(staged.files()) != 1:
        raise InvalidRequest("upload one file with annotations")
    busy = models.Exchange.objects.filter(
        task=task, job=job, kind=models.ExchangeKind.IMPORT, status__in=_BUSY
    )
    if busy.exists():
        target = f"task #{task.pk}" if job is None else f"job #{job.pk}"
        raise StateConflict(f"an import for {target} is in progress: wait for its end")
    return _begin(
        models.Exchange.objects.create(
            kind=models.ExchangeKind.IMPORT, task=task, job=job, user_id=user_id, format=form
        )
    )


def staged_part(job: models.Job | None) -> str:
    """Return the part of a task's staging folder for files to import into the task or a job."""
    return "annotations" if job is None else f"annotations-{job.pk}"


def revive(exchange: models.Exchange) -> None:
    """Run a request again if its process has sent no heartbeat for `UPLOAD_STALLED_AFTER_S`."""
    limit = timezone.now() - timedelta(seconds=engine_settings.UPLOAD_STALLED_AFTER_S)
    last = exchange.seen_at or exchange.created_at
    if exchange.status in _BUSY and last < limit:
        _pool.submit(_run_and_disconnect, exchange.pk)


def wait() -> None:
    """Wait until this process has ended the work that it had begun."""
    _pool.submit(int).result()


def _require_frames(task: models.Task) -> None:
    if not models.Data.objects.filter(task=task).exists():
        raise StateConflict(f"task #{task.pk} has no frames yet")


def _begin(exchange: models.Exchange) -> models.Exchange:
    _pool.submit(_run_and_disconnect, exchange.pk)
    return exchange


def _run_and_disconnect(key: UUID) -> None:
    try:
        run(key)
    finally:
        connections.close_all()


def run(key: UUID) -> None:
    """Run a request unless another process runs it. Store errors in its status; raise none."""
    now = timezone.now()
    limit = now - timedelta(seconds=engine_settings.UPLOAD_STALLED_AFTER_S)
    rows = models.Exchange.objects.filter(pk=key)
    free = Q(status=models.RequestStatus.QUEUED) | Q(
        status=models.RequestStatus.STARTED, seen_at__lt=limit
    )
    started = rows.filter(free).update(
        status=models.RequestStatus.STARTED, started_at=now, seen_at=now
    )
    if not started:
        return
    exchange = rows.select_related("task__data", "job__segment").get()
    status, message = _carried_out(exchange)
    ended: dict[str, Any] = {"status": status, "message": message, "ended_at": timezone.now()}
    if status == models.RequestStatus.FINISHED:
        ended["progress"] = 1.0
    rows.update(**ended)


def _carried_out(exchange: models.Exchange) -> tuple[models.RequestStatus, str]:
    try:
        work = _WORK[models.ExchangeKind(exchange.kind)]
        return models.RequestStatus.FINISHED, work(exchange, _reporter(exchange.pk))
    except LambdaError as exc:
        return models.RequestStatus.FAILED, exc.message
    except Exception as exc:
        if is_disk_full(exc):
            return models.RequestStatus.FAILED, DiskFull().message
        logger.exception("%s of task #%s failed", exchange.kind, exchange.task_id)
        return (
            models.RequestStatus.FAILED,
            f"The {exchange.kind} failed; the server's log has the cause.",
        )


def _reporter(key: UUID) -> Callable[[float], None]:
    """Return a function that stores the progress, at most once in `_HEARTBEAT_S`."""
    last = time.monotonic()

    def report(share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= _HEARTBEAT_S:
            last = time.monotonic()
            models.Exchange.objects.filter(pk=key).update(progress=share, seen_at=timezone.now())

    return report


def _export(exchange: models.Exchange, report: Callable[[float], None]) -> str:
    form = format_for_export(exchange.format)
    dataset = read_dataset(exchange.task, exchange.job)
    files, left_out = form.write(dataset, lambda share: report(share / 2))
    with zipfile.ZipFile(
        results.draft_path(exchange), "w", zipfile.ZIP_DEFLATED, compresslevel=6
    ) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        if exchange.with_images:
            for place, (frame, image) in enumerate(images_of(dataset), start=1):
                entry = f"{form.images}/{safe_name(frame.name)}"
                archive.writestr(entry, image, compress_type=zipfile.ZIP_STORED)
                report(0.5 + place / max(1, dataset.size) / 2)
    results.publish(exchange)
    if left_out:
        return f"{left_out} annotations were left out: {form.name} cannot express them."
    return ""


def _import(exchange: models.Exchange, report: Callable[[float], None]) -> str:
    staged = Staging(exchange.task_id, staged_part(exchange.job))
    try:
        form = format_for_import(exchange.format)
        assert form.read is not None
        document = _document(staged.files()[0])
        report(0.3)
        dataset = read_dataset(exchange.task, exchange.job)
        found = form.read(document, dataset)
        report(0.5)
        editor = Editor(exchange.task, exchange.job, user_id=exchange.user_id)
        editor.replace(found)
    finally:
        staged.clear()
    return f"{len(found.shapes)} shapes were imported."


def _document(file: SourceFile) -> object:
    """Return the JSON of a file, or of the annotations inside an archive. Raise InvalidRequest."""
    try:
        if not zipfile.is_zipfile(file.path):
            if file.path.stat().st_size > MAX_FILE_BYTES:
                raise InvalidRequest(f"file '{file.name}' is too large")
            return json.loads(file.path.read_bytes())
        with zipfile.ZipFile(file.path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".json")]
            name = COCO_FILE if COCO_FILE in names else next(iter(sorted(names)), None)
            if name is None:
                raise InvalidRequest(f"archive '{file.name}' has no JSON file")
            if archive.getinfo(name).file_size > MAX_FILE_BYTES:
                raise InvalidRequest(f"'{name}' in '{file.name}' is too large")
            return json.loads(archive.read(name))
    except (ValueError, RecursionError, zipfile.BadZipFile) as exc:
        raise InvalidRequest(f"file '{file.name}' cannot be read as JSON") from exc


def _remove_old() -> None:
    limit = timezone.now() - KEPT_FOR
    for old in models.Exchange.objects.filter(ended_at__lt=limit):
        results.remove(old)
        old.delete()


_WORK: Final[
    dict[models.ExchangeKind, Callable[[models.Exchange, Callable[[float], None]], str]]
] = {
    models.ExchangeKind.EXPORT: _export,
    models.ExchangeKind.IMPORT: _import,
}
