"""Reads encoded frames of a task: image files as they are, frames of a video decoded in order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image

from cvat_lambda.engine.ids_subquery import ids_subquery
from cvat_lambda.engine.port import Frame, FrameFacts, UnreadableFrame
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.media import images, storage
from cvat_lambda.engine.standalone.media.video import VideoReader
from cvat_lambda.errors import EngineUnavailable, FrameOutOfScope, FrameUnreadable, TaskNotFound
from cvat_lambda.images.decode import DECODE_ERRORS
from cvat_lambda.images.encode import BMP, PNG, bmp_bytes
from cvat_lambda.prepared import PreparedQuery

_BROWSER_TYPES = ("image/jpeg", "image/png", "image/webp")

Encoder = Callable[[Image.Image], bytes]

FACTS_AT_ONCE = 512  # rows of images read with one query
IMAGE_FACTS: Final = ("number", "path", "mime", "name", "width", "height", "data__folder")


_IMAGE: PreparedQuery[tuple[Any, ...]] = PreparedQuery(
    lambda task_id, number: (
        models.Image.objects.filter(data__task_id=task_id, number=number)
        .values_list(*IMAGE_FACTS)
        .order_by()
    ),
    int,
    int,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _VideoFacts:
    """The data needed to read a video's frames."""

    folder: str
    path: str
    name: str
    width: int
    height: int
    rotation: int
    start_frame: int
    step: int
    size: int
    timestamps: Sequence[int]
    key_timestamps: Sequence[int]

    def reader(self) -> VideoReader:
        return VideoReader(
            storage.local_file(self.folder, self.path),
            timestamps=self.timestamps,
            key_timestamps=self.key_timestamps,
            rotation=self.rotation,
        )

    def frame(self, number: int, data: bytes, mime: str) -> Frame:
        return Frame(
            number=number,
            data=data,
            mime=mime,
            name=_name_in_video(self.name, number),
            width=self.width,
            height=self.height,
        )


def read_frame(task_id: int, number: int) -> Frame:
    """Return one frame. Raise FrameOutOfScope, FrameUnreadable, EngineUnavailable, TaskNotFound."""
    values = _IMAGE.first(task_id, number)
    if values is not None:
        return read_image(dict(zip(IMAGE_FACTS, values, strict=True)))
    kind, size = _kind_and_size(task_id)
    if not 0 <= number < size:
        raise FrameOutOfScope(f"frame {number} is not in task #{task_id}, which has {size} frames")
    if kind != models.DataKind.VIDEO:
        raise FrameUnreadable(f"frame {number} of task #{task_id} is missing")
    return _checked(next(_video_frames(task_id, [number], images.encode_png, "image/png")))


def read_image(facts: Mapping[str, Any]) -> Frame:
    """Read an image by its `IMAGE_FACTS`. Raise FrameUnreadable, EngineUnavailable."""
    return _checked(_read_image(facts))


def read_facts(task_id: int, numbers: Collection[int]) -> dict[int, FrameFacts]:
    """Return names and sizes of the existing frames. Raise TaskNotFound."""
    kind, size = _kind_and_size(task_id)
    inside = {number for number in numbers if 0 <= number < size}
    if kind == models.DataKind.VIDEO:
        videos = models.Video.objects.filter(data__task_id=task_id)
        name, width, height = videos.values_list("name", "width", "height").get()
        return {
            number: FrameFacts(name=_name_in_video(name, number), width=width, height=height)
            for number in inside
        }
    rows = models.Image.objects.filter(data__task_id=task_id, number__in=ids_subquery(inside))
    return {
        number: FrameFacts(name=name, width=width, height=height)
        for number, name, width, height in rows.values_list("number", "name", "width", "height")
    }


def _name_in_video(name: str, number: int) -> str:
    return f"{name}#{number}"


def read_frames(
    task_id: int, numbers: Sequence[int], *, max_bmp_bytes: int = 0
) -> Iterator[Frame | UnreadableFrame]:
    """Yield frames in ascending order. Raise TaskNotFound, EngineUnavailable.

    Frames of a video are BMP files if these have at most ``max_bmp_bytes``, else PNG files.
    """
    kind, _ = _kind_and_size(task_id)
    try:
        if kind == models.DataKind.VIDEO:
            yield from _video_frames(task_id, numbers, *_lossless(task_id, max_bmp_bytes))
            return
        for start in range(0, len(numbers), FACTS_AT_ONCE):
            yield from _image_frames(task_id, numbers[start : start + FACTS_AT_ONCE])
    except EngineUnavailable:
        _kind_and_size(task_id)  # the task was deleted
        raise


def _lossless(task_id: int, max_bmp_bytes: int) -> tuple[Encoder, str]:
    """Return how to encode the frames of a video without loss, and the type of the files."""
    if max_bmp_bytes:
        videos = models.Video.objects.filter(data__task_id=task_id)
        width, height = videos.values_list("width", "height").get()
        if bmp_bytes(width, height) <= max_bmp_bytes:
            return images.encode_bmp, BMP
    return images.encode_png, PNG


def read_compressed(
    task_id: int, numbers: Sequence[int], *, quality: int
) -> Iterator[Frame | UnreadableFrame]:
    """Yield frames as JPEG of this quality, for display."""

    def encode(picture: Image.Image) -> bytes:
        return images.encode_jpeg(picture, quality=quality)

    kind, _ = _kind_and_size(task_id)
    if kind == models.DataKind.VIDEO:
        yield from _video_frames(task_id, numbers, encode, "image/jpeg")
        return
    for frame in read_frames(task_id, numbers):
        if isinstance(frame, UnreadableFrame) or _is_sent_as_stored(frame):
            yield frame
        else:
            yield _reencoded(frame, encode)


def _is_sent_as_stored(frame: Frame) -> bool:
    """Return whether a browser shows the stored file, and encoding it anew takes gigabytes."""
    return frame.mime in _BROWSER_TYPES and images.is_large(frame.width, frame.height)


def _reencoded(frame: Frame, encode: Encoder) -> Frame | UnreadableFrame:
    try:
        with images.large_image_lock(frame.width, frame.height):
            data = encode(images.decode_unlocked(frame.data))
    except DECODE_ERRORS:
        return _unreadable(frame.number, frame.name)
    return Frame(
        number=frame.number,
        data=data,
        mime="image/jpeg",
        name=frame.name,
        width=frame.width,
        height=frame.height,
    )


def _checked(frame: Frame | UnreadableFrame) -> Frame:
    if isinstance(frame, UnreadableFrame):
        raise frame.error
    return frame


def _unreadable(number: int, name: str) -> UnreadableFrame:
    error = FrameUnreadable(f"frame {number} ('{name}') cannot be read as an image")
    return UnreadableFrame(number=number, error=error)


def _kind_and_size(task_id: int) -> tuple[str, int]:
    found = models.Data.objects.filter(task_id=task_id).values_list("kind", "size").first()
    if found is not None:
        return found
    if not models.Task.objects.filter(pk=task_id).exists():
        raise TaskNotFound(f"task #{task_id} was not found")
    return models.DataKind.IMAGES, 0


def _image_frames(task_id: int, numbers: Sequence[int]) -> Iterator[Frame | UnreadableFrame]:
    query = models.Image.objects.filter(data__task_id=task_id, number__in=list(numbers))
    found = {facts["number"]: facts for facts in query.values(*IMAGE_FACTS)}
    if not found:
        _kind_and_size(task_id)  # it may have been deleted meanwhile
    existing = [found[number] for number in numbers if number in found]
    folder = existing[0]["data__folder"] if existing else ""
    fetched = storage.fetch_ahead(folder, [facts["path"] for facts in existing])
    for number in numbers:
        facts = found.get(number)
        if facts is None:
            error = FrameOutOfScope(f"frame {number} is not in task #{task_id}")
            yield UnreadableFrame(number=number, error=error)
        else:
            next(fetched)
            yield _read_image(facts)


def _read_image(facts: Mapping[str, Any]) -> Frame | UnreadableFrame:
    try:
        data = storage.local_file(facts["data__folder"], facts["path"]).read_bytes()
    except OSError:
        return _unreadable(facts["number"], facts["name"])
    if not data:
        return _unreadable(facts["number"], facts["name"])
    return Frame(
        number=facts["number"],
        data=data,
        mime=facts["mime"],
        name=facts["name"],
        width=facts["width"],
        height=facts["height"],
    )


def _video_facts(task_id: int) -> _VideoFacts:
    row = models.Video.objects.select_related("data").get(data__task_id=task_id)
    return _VideoFacts(
        folder=row.data.folder,
        path=row.path,
        name=row.name,
        width=row.width,
        height=row.height,
        rotation=row.rotation,
        start_frame=row.data.start_frame,
        step=row.data.step,
        size=row.data.size,
        timestamps=models.Video.unpack(row.timestamps),
        key_timestamps=models.Video.unpack(row.key_timestamps),
    )


def _video_frames(
    task_id: int, numbers: Sequence[int], encode: Encoder, mime: str
) -> Iterator[Frame | UnreadableFrame]:
    facts = _video_facts(task_id)
    inside = [number for number in numbers if 0 <= number < facts.size]
    positions = [facts.start_frame + number * facts.step for number in inside]
    try:
        pictures = facts.reader().frames(positions)
    except FileNotFoundError as exc:
        raise EngineUnavailable("the video of this task cannot be read now") from exc
    try:
        for number, (_, picture) in zip(inside, pictures, strict=True):
            if picture is None:
                yield _unreadable(number, facts.name)
            else:
                yield facts.frame(number, encode(picture), mime)
    except OSError as exc:
        raise EngineUnavailable("the video of this task cannot be read now") from exc
    finally:
        pictures.close()
    for number in numbers[len(inside) :]:
        error = FrameOutOfScope(f"frame {number} is not in task #{task_id}")
        yield UnreadableFrame(number=number, error=error)
