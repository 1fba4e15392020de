"""Frames of CVAT's tasks, read from the original files or from chunks.

A chunk of original quality has about ten megabytes. A stream opens each chunk once (`stream`). For
single frames this process keeps a few chunks open, so that a call need not read one from Redis.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from cvat_lambda.engine.cvat.chunks import ChunkCache, TemporarilyUnavailable, translate_errors
from cvat_lambda.engine.cvat.media import Row, TaskMedia
from cvat_lambda.engine.cvat.stream import FrameStream, read_original, to_frame
from cvat_lambda.engine.port import Frame, FrameFacts, KnownFrame, UnreadableFrame
from cvat_lambda.errors import FrameOutOfScope

MAX_CACHED_CHUNKS: Final = 4  # of this process, for single frames
REUSE_FOR_S: Final = 0.5  # how long a thread uses its last lookup

_chunk_cache = ChunkCache(MAX_CACHED_CHUNKS)


def clear_caches() -> None:
    """Forget the chunks, and the last lookup of this thread."""
    _chunk_cache.clear()
    _last_lookup.last = None


def read_frame(task_id: int, number: int) -> Frame:
    """Return one frame from its original file or from the chunk cache.

    Raise TaskNotFound, FrameOutOfScope, FrameUnreadable, EngineUnavailable.
    """
    media, row = _lookup(task_id, number)
    return _read(media, row, number)


def known_frames(media: TaskMedia, numbers: Collection[int]) -> dict[int, KnownFrame]:
    """Look up those of the frames that the task has, with one query."""
    inside = [number for number in numbers if 0 <= number < media.data.size]
    rows = media.listed_rows(inside)
    return {
        number: KnownFrame(
            key=_key(media, rows.get(number), number),
            read=partial(_read, media, rows.get(number), number),
        )
        for number in inside
    }


def _read(media: TaskMedia, row: Row | None, number: int) -> Frame:
    found = read_original(media, number, row)
    if found is not None:
        return found
    try:
        return _from_chunk(media, number, row)
    except TemporarilyUnavailable:
        media.refresh_segments()  # CVAT may have made the chunk again
        return _from_chunk(media, number, row)


def _from_chunk(media: TaskMedia, number: int, row: Row | None) -> Frame:
    place = media.place(number)
    with translate_errors(media.task_id, number):
        return to_frame(number, _chunk_cache.get(place).read(place.position), row)


def read_frames(
    task_id: int, numbers: Sequence[int], *, job_id: int | None = None
) -> Iterator[Frame | UnreadableFrame]:
    """Yield frames in ascending order and open each chunk once. Raise as `read_frame`.

    A single frame that cannot be read is an `UnreadableFrame`, and the stream continues.
    """
    media = TaskMedia.of_task(task_id, job_id=job_id)
    for number in numbers:
        media.require(number)
    return FrameStream(media).read(numbers)


def read_facts(task_id: int, numbers: Collection[int]) -> dict[int, FrameFacts]:
    """Return names and sizes of the frames that exist. Raise TaskNotFound."""
    try:
        media = TaskMedia.of_task(task_id)
    except FrameOutOfScope:  # the task has no data yet
        return {}
    inside = sorted(number for number in set(numbers) if 0 <= number < media.data.size)
    video = media.video()
    rows = dict.fromkeys(inside, video) if video is not None else media.rows(inside)
    return {
        number: FrameFacts(name=row.path, width=row.width, height=row.height)
        for number, row in rows.items()
    }


def frame_key(task_id: int, number: int) -> str:
    """Return a key of a frame's content: its file with size and time, or its number in the video.

    Raise TaskNotFound, FrameOutOfScope.
    """
    media, row = _lookup(task_id, number)
    return _key(media, row, number)


def _key(media: TaskMedia, row: Row | None, number: int) -> str:
    parts: list[object] = [media.data.pk]
    if row is None:
        parts.append(media.absolute(number))
    else:
        parts.append(row.path)
        path = media.folder / row.path
        try:
            status = path.stat()
            parts += [status.st_size, status.st_mtime_ns]
        except OSError:
            pass  # in a cloud storage: CVAT assumes that its files do not change
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lookup:
    """The last lookup of a thread. A call asks for the key of a frame and then for the frame."""

    task_id: int
    number: int
    until: float  # of time.monotonic
    media: TaskMedia
    row: Row | None


_last_lookup = threading.local()


def _lookup(task_id: int, number: int) -> tuple[TaskMedia, Row | None]:
    last: _Lookup | None = getattr(_last_lookup, "last", None)
    now = time.monotonic()
    if last is not None and (last.task_id, last.number) == (task_id, number) and now < last.until:
        return last.media, last.row
    media = TaskMedia.of_task(task_id)
    media.require(number)
    row = media.row(number)
    _last_lookup.last = _Lookup(
        task_id=task_id, number=number, until=now + REUSE_FOR_S, media=media, row=row
    )
    return media, row
