"""Frames, chunks, previews and metadata of the frames of a task or a job."""

from __future__ import annotations

import mimetypes
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

from django.db import transaction
from django.http import FileResponse, HttpResponse
from django.utils import timezone
from rest_framework.exceptions import NotFound, ValidationError

from cvat_lambda.engine.port import Frame, UnreadableFrame
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.media import images, reader
from cvat_lambda.errors import InvalidRequest
from cvat_lambda.rest.fields import INT_MAX
from cvat_lambda.rest.queries import whole_number

_PREVIEW_SIDE = 256  # pixels
_CHUNK_IN_MEMORY = 16 * 1024 * 1024  # bytes; larger archives go to a temporary file
_PRIVATE = {"Cache-Control": "private"}  # no shared cache may keep frames
_QUALITIES = ("original", "compressed")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameScope:
    """The frames of a task or of a job."""

    data: models.Data
    frames: Sequence[int]  # relative numbers, ascending
    is_job: bool

    @property
    def task_id(self) -> int:
        return self.data.task_id

    def own(self, number: int) -> int:
        """Return the number if it is in the scope. Raise NotFound."""
        if number not in self.frames:
            raise NotFound(f"Frame {number} does not exist; there are {len(self.frames)} frames.")
        return number


def scope_of_task(task: models.Task) -> FrameScope:
    """Raise NotFound if the task has no frames yet."""
    data = getattr(task, "data", None)
    if data is None:
        raise NotFound(f"Task #{task.pk} has no frames yet.")
    return FrameScope(data=data, frames=range(data.size), is_job=False)


def scope_of_job(job: models.Job) -> FrameScope:
    """Return the frames of a job."""
    data = job.segment.task.data
    return FrameScope(data=data, frames=job.segment.frame_numbers, is_job=True)


def _number(parameters: Any, name: str) -> int:
    number = whole_number(parameters.get(name, ""), INT_MAX)
    if number is None:
        raise ValidationError({name: ["A valid integer is required."]})
    return number


def answer(scope: FrameScope, parameters: Any) -> HttpResponse | FileResponse:
    """Answer ``?type=frame|chunk|preview&number=N&quality=original|compressed``."""
    kind = parameters.get("type", "chunk")
    quality = parameters.get("quality", "compressed")
    if quality not in _QUALITIES:
        raise ValidationError({"quality": [f"Must be one of {', '.join(_QUALITIES)}."]})
    if kind == "frame":
        return frame_response(scope, _number(parameters, "number"), quality)
    if kind == "chunk":
        return chunk_response(scope, _chunk_frames(scope, parameters), quality)
    if kind == "preview":
        return preview_response(scope)
    raise ValidationError({"type": ["Must be one of frame, chunk, preview."]})


def _read(scope: FrameScope, number: int, quality: str) -> Frame:
    if quality == "original":
        return reader.read_frame(scope.task_id, number)
    found = next(reader.read_compressed(scope.task_id, [number], quality=scope.data.image_quality))
    if isinstance(found, UnreadableFrame):
        raise found.error
    return found


def frame_response(scope: FrameScope, number: int, quality: str) -> HttpResponse:
    """Return one image with its content type."""
    frame = _read(scope, scope.own(number), quality)
    return HttpResponse(frame.data, content_type=frame.mime, headers=_PRIVATE)


def preview_response(scope: FrameScope) -> HttpResponse:
    """Return the first frame as a small JPEG. Raise NotFound, FrameUnreadable."""
    if not scope.frames:
        raise NotFound("There are no frames.")
    frame = _read(scope, scope.frames[0], "compressed")
    picture = images.decode(frame.data)
    picture.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    return HttpResponse(
        images.encode_jpeg(picture, quality=75), content_type="image/jpeg", headers=_PRIVATE
    )


def _chunk_frames(scope: FrameScope, parameters: Any) -> list[int]:
    """Return the frames of chunk ``number`` of the task, or of chunk ``index`` of a job."""
    size = scope.data.chunk_size
    if scope.is_job and parameters.get("index"):
        start = _number(parameters, "index") * size
        found = list(scope.frames[start : start + size])
    else:
        start = _number(parameters, "number") * size
        numbers = range(start, min(start + size, scope.data.size))
        mine = scope.frames if isinstance(scope.frames, range) else frozenset(scope.frames)
        found = [number for number in numbers if number in mine]
    if not found:
        raise NotFound("The chunk does not exist.")
    return found


def chunk_response(scope: FrameScope, numbers: list[int], quality: str) -> FileResponse:
    """Return a zip archive of frames in order, including deleted ones."""
    if quality == "original":
        frames = reader.read_frames(scope.task_id, numbers)
    else:
        frames = reader.read_compressed(scope.task_id, numbers, quality=scope.data.image_quality)
    file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_CHUNK_IN_MEMORY)  # noqa: SIM115
    try:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for place, frame in enumerate(frames):
                if isinstance(frame, UnreadableFrame):
                    raise frame.error
                suffix = mimetypes.guess_extension(frame.mime) or ".bin"
                archive.writestr(f"{place:06d}{suffix}", frame.data)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return FileResponse(file, content_type="application/zip", headers=_PRIVATE)


def meta(scope: FrameScope) -> dict[str, Any]:
    """Return the metadata of the frames, for `DataMeta`."""
    data = scope.data
    numbers = scope.frames
    is_selection = not isinstance(numbers, range)
    first, last = (numbers[0], numbers[-1]) if numbers else (0, 0)
    shown = range(first, last + 1) if is_selection else numbers
    mine = frozenset(numbers) if is_selection else numbers
    return {
        "chunks_updated_date": data.updated_at,
        "chunk_size": data.chunk_size,
        "size": len(numbers),
        "image_quality": data.image_quality,
        "start_frame": data.start_frame + first * data.step,
        "stop_frame": data.start_frame + last * data.step,
        "frame_filter": data.frame_filter,
        "frames": _frame_facts(data, shown),
        "deleted_frames": [number for number in data.deleted_frames if number in mine],
        "included_frames": list(numbers) if is_selection else None,
        "cloud_storage_id": None,
        "storage_method": "file_system",
        "storage": "local",
    }


def _facts(name: str, width: int, height: int) -> dict[str, Any]:
    return {
        "name": name,
        "width": width,
        "height": height,
        "has_related_context": False,
        "related_files": 0,
    }


def _frame_facts(data: models.Data, numbers: Sequence[int]) -> list[dict[str, Any]]:
    if data.kind == models.DataKind.VIDEO:
        video = data.video
        return [_facts(f"frame_{number:06d}", video.width, video.height) for number in numbers]
    rows = data.images.filter(number__gte=numbers[0], number__lte=numbers[-1])
    return [_facts(*row) for row in rows.values_list("name", "width", "height")]


def delete_frames(scope: FrameScope, wanted: Sequence[int]) -> None:
    """Set the deleted frames of the scope. Raise InvalidRequest for a frame outside it."""
    mine = scope.frames if isinstance(scope.frames, range) else frozenset(scope.frames)
    strangers = [number for number in wanted if number not in mine]
    if strangers:
        raise InvalidRequest(f"frame {strangers[0]} does not exist and cannot be deleted")
    now = timezone.now()
    with transaction.atomic():
        models.Task.objects.filter(pk=scope.task_id).update(updated_at=now)
        data = models.Data.objects.select_for_update().get(pk=scope.data.pk)
        others = [number for number in data.deleted_frames if number not in mine]
        data.deleted_frames = sorted({*others, *wanted})
        data.save(update_fields=["deleted_frames"])
    scope.data.deleted_frames = data.deleted_frames
