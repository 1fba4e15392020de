"""Turn uploaded files into frames: small ones at once, others in the background.

A thread of the web process does the work; no worker is needed. The state is in the database and
the files are on disk. If the process dies, the next process that gets a query about the request
takes it over.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connections, transaction
from django.db.models import Q
from django.utils import timezone

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.conf import engine_settings
from cvat_lambda.engine.standalone.media import remote, shared
from cvat_lambda.engine.standalone.media.files import SourceFile
from cvat_lambda.engine.standalone.media.ingest import Ingestion, Selection
from cvat_lambda.engine.standalone.media.video import is_video
from cvat_lambda.engine.standalone.staging import Staging
from cvat_lambda.engine.standalone.tasks import add_frames
from cvat_lambda.engine.standalone.writing import lock
from cvat_lambda.errors import DiskFull, LambdaError, StateConflict, is_disk_full

logger = logging.getLogger(__name__)

_BUSY = (models.RequestStatus.QUEUED, models.RequestStatus.STARTED)
_HEARTBEAT_S = 5.0

_pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="upload")


def require_empty(task: models.Task) -> None:
    """Raise StateConflict if the task has frames, or is about to get them."""
    if models.Data.objects.filter(task=task).exists():
        raise StateConflict(f"task #{task.pk} already has frames")
    if models.DataRequest.objects.filter(task=task, status__in=_BUSY).exists():
        raise StateConflict(f"an upload for task #{task.pk} is already in progress")


def start(
    task: models.Task, user_id: int | None, parameters: Mapping[str, Any]
) -> models.DataRequest:
    """Make the staged files, and the files that the parameters name, the frames of the task.

    `parameters` are those of the API. The status of the returned request reports errors of the
    files. Raise StateConflict, InvalidRequest.
    """
    remote.check_urls(parameters["remote_files"])
    shared.resolve(parameters["server_files"])
    Staging(task.pk).require_complete()
    with transaction.atomic():
        lock(task.pk)  # of two simultaneous calls, the second one finds the request of the first
        require_empty(task)
        request = models.DataRequest.objects.create(
            task=task, user_id=user_id, parameters=dict(parameters), seen_at=timezone.now()
        )
    staged = Staging(task.pk)
    is_small = staged.size_bytes() <= engine_settings.INLINE_UPLOAD_BYTES
    # A video of any size takes long, because it is decoded completely.
    is_small = is_small and not any(is_video(file.name) for file in staged.files())
    if is_small and not parameters["remote_files"] and not parameters["server_files"]:
        run(request.pk)
    else:
        _run_in_background(request.pk)
    request.refresh_from_db()
    return request


def revive(request: models.DataRequest) -> None:
    """Take over a request whose process has sent no heartbeat for `UPLOAD_STALLED_AFTER_S`."""
    if request.status in _BUSY and _stalled().filter(pk=request.pk).exists():
        _run_in_background(request.pk)


def _stalled() -> Any:
    limit = timezone.now() - timedelta(seconds=engine_settings.UPLOAD_STALLED_AFTER_S)
    return models.DataRequest.objects.filter(status__in=_BUSY, seen_at__lt=limit)


def _run_in_background(request_id: UUID) -> None:
    _pool.submit(_run_and_disconnect, request_id)


def wait() -> None:
    """Wait until this process has ended the uploads that it had begun."""
    _pool.submit(int).result()


def _run_and_disconnect(request_id: UUID) -> None:
    try:
        run(request_id)
    finally:
        connections.close_all()


def run(request_id: UUID) -> None:
    """Run a request unless another process runs it. Store errors in its status; raise none."""
    now = timezone.now()
    limit = now - timedelta(seconds=engine_settings.UPLOAD_STALLED_AFTER_S)
    free = Q(status=models.RequestStatus.QUEUED) | Q(
        status=models.RequestStatus.STARTED, seen_at__lt=limit
    )
    rows = models.DataRequest.objects.filter(pk=request_id)
    if not rows.filter(free).update(
        status=models.RequestStatus.STARTED, started_at=now, seen_at=now
    ):
        return
    status, message = _carried_out(rows.select_related("task").get())
    rows.update(status=status, message=message, ended_at=timezone.now())


def _carried_out(request: models.DataRequest) -> tuple[models.RequestStatus, str]:
    staging = Staging(request.task_id)
    note = ""
    try:
        if not models.Data.objects.filter(task_id=request.task_id).exists():
            ingestion = _ingestion(request.parameters, _heartbeat(request.pk))
            note = add_frames(request.task, _sources(request, staging), ingestion).note
    except LambdaError as exc:
        return models.RequestStatus.FAILED, exc.message
    except Exception as exc:
        if is_disk_full(exc):
            return models.RequestStatus.FAILED, DiskFull().message
        logger.exception("upload for task #%s failed", request.task_id)
        return models.RequestStatus.FAILED, "The upload failed; the server's log has the cause."
    finally:
        staging.clear()
    return models.RequestStatus.FINISHED, note


def _heartbeat(request_id: UUID) -> Callable[[], None]:
    """Return a callback that stores a heartbeat, at most once in `_HEARTBEAT_S`."""
    last = time.monotonic()

    def note() -> None:
        nonlocal last
        if time.monotonic() - last >= _HEARTBEAT_S:
            last = time.monotonic()
            models.DataRequest.objects.filter(pk=request_id).update(seen_at=timezone.now())

    return note


def _sources(request: models.DataRequest, staging: Staging) -> list[SourceFile]:
    parameters = request.parameters
    for url in parameters["remote_files"]:
        remote.fetch(url, staging.add)
    order = parameters["upload_file_order"]
    staged = staging.ordered(order) if order else staging.files()
    return [*staged, *shared.resolve(parameters["server_files"])]


def _ingestion(parameters: Mapping[str, Any], on_progress: Callable[[], None]) -> Ingestion:
    step = parameters["frame_filter"].partition("=")[2].strip()
    return Ingestion(
        selection=Selection(
            sorting_method=parameters["sorting_method"],
            start_frame=parameters["start_frame"],
            stop_frame=parameters.get("stop_frame"),
            step=int(step) if step else 1,
        ),
        placing="copy" if parameters["server_files"] else "link",
        image_quality=parameters["image_quality"],
        chunk_size=parameters.get("chunk_size"),
        on_progress=on_progress,
    )
