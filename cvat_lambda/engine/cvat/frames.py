"""Frames of CVAT's tasks: original files where CVAT keeps them, chunks opened once elsewhere.

A chunk of original quality is some ten megabytes. A stream opens each once; single frames come
from a few chunks that this process keeps open, so a call does not move one through Redis.
"""

from __future__ import annotations

import hashlib
import threading
import time
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import cv2  # type: ignore[import-not-found]
from cvat.apps.engine import models
from cvat.apps.engine.exceptions import CloudStorageMissingError
from cvat.apps.engine.utils import CvatChunkTimestampMismatchError
from django.core.exceptions import ObjectDoesNotExist
from PIL import Image, ImageOps
from redis.exceptions import RedisError

from cvat_lambda.engine.cvat.compat import is_video_chunk, open_chunk
from cvat_lambda.engine.cvat.facts import data_of
from cvat_lambda.engine.port import Frame, UnreadableFrame
from cvat_lambda.errors import (
    EngineUnavailable,
    FrameOutOfScope,
    FrameUnreadable,
    LambdaError,
    TaskNotFound,
)

MAX_OPEN_CHUNKS: Final = 4  # of this process, for single frames
LOOK_S: Final = 0.5  # how long what a thread saw of a frame holds
ROWS_AT_ONCE: Final = 500  # image rows read ahead by a stream
ORIENTATION: Final = 0x0112  # the EXIF tag; 1 is upright


def read_frame(task_id: int, number: int) -> Frame:
    """One frame: its original file, or a chunk that stays open.

    Raise TaskNotFound, FrameOutOfScope, FrameUnreadable, EngineUnavailable.
    """
    media, row = _look(task_id, number)
    original = media.original(number, row)
    if original is not None:
        return original
    place = media.place(number)
    with _translated(task_id, number):
        chunk = _open_chunks.get(place)
        return _frame(number, chunk.read(place.position), row)


def read_frames(
    task_id: int, numbers: Sequence[int], *, job_id: int | None = None
) -> Iterator[Frame | UnreadableFrame]:
    """Frames in ascending order, each chunk opened once. Raise as `read_frame`.

    What cannot be read alone is an `UnreadableFrame`; the stream goes on behind it.
    """
    media = Media.of_task(task_id, job_id=job_id)
    for number in numbers:
        media.require(number)
    return _stream(media, numbers)


def frame_key(task_id: int, number: int) -> str:
    """A key of a frame's content: its file with size and time, or its place in the video.

    Raise TaskNotFound, FrameOutOfScope.
    """
    media, row = _look(task_id, number)
    parts: list[object] = [media.data.pk]
    if row is None:
        parts.append(media.absolute(number))
    else:
        parts.append(row.path)
        path = media.folder / row.path
        try:
            facts = path.stat()
            parts += [facts.st_size, facts.st_mtime_ns]
        except OSError:
            pass  # in a cloud storage: CVAT itself takes it for unchangeable
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What a thread last saw of a frame: a call asks for its key, then for the frame."""

    task_id: int
    number: int
    until: float  # of time.monotonic
    media: Media
    row: Row | None


_looks = threading.local()


def _look(task_id: int, number: int) -> tuple[Media, Row | None]:
    last: _Look | None = getattr(_looks, "last", None)
    now = time.monotonic()
    if last is not None and (last.task_id, last.number) == (task_id, number) and now < last.until:
        return last.media, last.row
    media = Media.of_task(task_id)
    media.require(number)
    row = media.rows([number]).get(number)
    _looks.last = _Look(task_id=task_id, number=number, until=now + LOOK_S, media=media, row=row)
    return media, row


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What CVAT's table of images says of a frame."""

    path: str  # relative to the folder of the raw data
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a frame is among the chunks."""

    segment: Any
    chunk: int
    position: int  # in the chunk

    @property
    def key(self) -> tuple[int, int, object]:
        """What names the content of the chunk: CVAT dates it anew when it changes."""
        return self.segment.pk, self.chunk, self.segment.chunks_updated_date


@dataclass(slots=True, kw_only=True)
class Media:
    """The frames of a task, in numbers relative to it."""

    task_id: int
    data: Any
    job_id: int | None = None  # its segment is asked first
    _segments: list[tuple[Any, Sequence[int]]] | None = None  # with absolute frames, ascending

    @classmethod
    def of_task(cls, task_id: int, *, job_id: int | None = None) -> Media:
        """Raise TaskNotFound, FrameOutOfScope (a task without data)."""
        data = data_of(task_id)
        if data is None:
            if models.Task.objects.filter(pk=task_id).exists():
                raise FrameOutOfScope(f"task #{task_id} has no frames yet")
            raise TaskNotFound(f"task #{task_id} was not found")
        return cls(task_id=task_id, data=data, job_id=job_id)

    @property
    def folder(self) -> Path:
        """Of the original files."""
        return Path(self.data.get_raw_data_dirname())

    def absolute(self, number: int) -> int:
        """A frame's number in the upload."""
        return int(self.data.start_frame) + number * int(self.data.get_frame_step())

    def require(self, number: int) -> None:
        """Raise FrameOutOfScope."""
        if not 0 <= number < self.data.size:
            raise FrameOutOfScope(f"frame {number} is not in task #{self.task_id}")

    def rows(self, numbers: Sequence[int]) -> dict[int, Row]:
        """The image rows of frames; a video has none."""
        wanted = {self.absolute(number): number for number in numbers}
        rows = models.Image.objects.filter(data_id=self.data.pk, frame__in=list(wanted))
        return {
            wanted[frame]: Row(path=path, width=width, height=height)
            for frame, path, width, height in rows.values_list("frame", "path", "width", "height")
        }

    def original(self, number: int, row: Row | None) -> Frame | None:
        """The frame from its original file; None where CVAT does not keep it on this disk.

        Raise FrameUnreadable.
        """
        if row is None:
            return None
        try:
            content = (self.folder / row.path).read_bytes()
        except OSError:
            return None
        with _translated(self.task_id, number):
            content, mime = upright(content)
        return Frame(
            number=number,
            data=content,
            mime=mime,
            name=row.path,
            width=row.width,
            height=row.height,
        )

    def place(self, number: int) -> Place:
        """The chunk that holds a frame. Raise FrameUnreadable."""
        wanted = self.absolute(number)
        for segment, frames in self._known_segments():
            index = bisect_left(frames, wanted)
            if index < len(frames) and frames[index] == wanted:
                chunk, position = divmod(index, self.data.chunk_size)
                return Place(segment=segment, chunk=chunk, position=position)
        raise FrameUnreadable(f"frame {number} of task #{self.task_id} is in none of its jobs")

    def _known_segments(self) -> list[tuple[Any, Sequence[int]]]:
        """Segments, the job's own first, whole ranges before chosen frames."""
        if self._segments is None:
            rows = models.Segment.objects.filter(task_id=self.task_id)
            mine = set(
                models.Segment.objects.filter(job=self.job_id).values_list("pk", flat=True)
                if self.job_id is not None
                else ()
            )
            found = sorted(
                rows.select_related("task__data"),
                key=lambda row: (
                    row.pk not in mine,
                    row.type != models.SegmentType.RANGE,
                    row.start_frame,
                ),
            )
            self._segments = [(row, _ordered(row.frame_set)) for row in found]
        return self._segments


def _ordered(frames: Any) -> Sequence[int]:
    return frames if isinstance(frames, range) else sorted(frames)


def upright(content: bytes) -> tuple[bytes, str]:
    """An image file as an annotator sees it, with its type; untouched unless EXIF turns it."""
    with Image.open(BytesIO(content)) as image:
        mime = Image.MIME.get(image.format or "", "application/octet-stream")
        if image.getexif().get(ORIENTATION, 1) in (0, 1):
            return content, mime
        turned = ImageOps.exif_transpose(image)
        buffer = BytesIO()
        if image.format == "JPEG":
            turned.save(buffer, "JPEG", quality=100, subsampling=0)
        else:
            turned.save(buffer, "PNG", compress_level=1)
            mime = "image/png"
    return buffer.getvalue(), mime


# Chunks


class OpenChunk:
    """A chunk that is read by position, by one thread at a time."""

    def __init__(self, place: Place) -> None:
        self._lock = threading.Lock()
        self._items = open_chunk(place.segment, place.chunk)
        self._is_video = is_video_chunk(place.segment.task.data)

    def read(self, position: int) -> tuple[bytes, str]:
        """The image file at a position, with its type."""
        with self._lock:
            try:
                item = self._items[position][0]
            except StopIteration as exc:  # must not end a generator of ours
                raise FrameUnreadable(
                    "a chunk of the task has fewer frames than it should"
                ) from exc
            if self._is_video:
                return _encode(item)
        return upright(item.getvalue())

    def close(self) -> None:
        """Let go of the data."""
        with self._lock:
            self._items.close()


def _encode(video_frame: Any) -> tuple[bytes, str]:
    """PNG, as CVAT gives frames of videos; OpenCV's own choice of compression is its fastest."""
    done, encoded = cv2.imencode(".png", video_frame.to_ndarray(format="bgr24"))
    if not done:
        raise FrameUnreadable("a frame of the video could not be encoded")
    return encoded.tobytes(), "image/png"


class OpenChunks:
    """The few chunks last read, kept open for the next call on one of their frames."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._chunks: OrderedDict[tuple[int, int, object], OpenChunk] = OrderedDict()

    def get(self, place: Place) -> OpenChunk:
        """The chunk of a place, opened if it is not. Two threads may open the same one once."""
        with self._lock:
            chunk = self._chunks.get(place.key)
            if chunk is not None:
                self._chunks.move_to_end(place.key)
                return chunk
        chunk = OpenChunk(place)  # takes its time: others are not kept waiting
        with self._lock:
            self._chunks[place.key] = chunk
            while len(self._chunks) > self._limit:
                # Not closed: somebody may read it still; it goes with its last reader.
                self._chunks.popitem(last=False)
        return chunk


_open_chunks = OpenChunks(MAX_OPEN_CHUNKS)


def _stream(media: Media, numbers: Sequence[int]) -> Iterator[Frame | UnreadableFrame]:
    chunk: OpenChunk | None = None
    opened: object = None
    try:
        for start in range(0, len(numbers), ROWS_AT_ONCE):
            piece = numbers[start : start + ROWS_AT_ONCE]
            rows = media.rows(piece)
            for number in piece:
                try:
                    row = rows.get(number)
                    frame = media.original(number, row)
                    if frame is None:
                        place = media.place(number)
                        if opened != place.key:
                            chunk = _reopened(chunk, place, media.task_id, number)
                            opened = place.key
                        assert chunk is not None
                        with _translated(media.task_id, number):
                            frame = _frame(number, chunk.read(place.position), row)
                except FrameUnreadable as exc:
                    yield UnreadableFrame(number=number, error=exc)
                else:
                    yield frame
    finally:
        if chunk is not None:
            chunk.close()


def _reopened(before: OpenChunk | None, place: Place, task_id: int, number: int) -> OpenChunk:
    if before is not None:
        before.close()
    with _translated(task_id, number):
        return OpenChunk(place)


def _frame(number: int, image: tuple[bytes, str], row: Row | None) -> Frame:
    content, mime = image
    return Frame(
        number=number,
        data=content,
        mime=mime,
        name=row.path if row is not None else "",
        width=row.width if row is not None else None,
        height=row.height if row is not None else None,
    )


@contextmanager
def _translated(task_id: int, number: int) -> Iterator[None]:
    """What reading a frame raises, as errors of ours."""
    try:
        yield
    except LambdaError:
        raise
    except (TimeoutError, RedisError, CvatChunkTimestampMismatchError) as exc:
        raise EngineUnavailable(
            f"the frame storage of task #{task_id} does not answer at present"
        ) from exc
    except CloudStorageMissingError as exc:
        raise EngineUnavailable(
            f"task #{task_id} has lost its cloud storage: connect it again in CVAT"
        ) from exc
    except ObjectDoesNotExist as exc:
        raise TaskNotFound(f"task #{task_id} was not found") from exc
    except Exception as exc:
        raise FrameUnreadable(
            f"frame {number} of task #{task_id} cannot be read as an image"
        ) from exc
