"""Frames of CVAT's tasks: original files where CVAT keeps them, chunks opened once elsewhere.

A chunk of original quality is some ten megabytes. A stream opens each once (`stream`); single
frames come from a few chunks that this process keeps open, so a call does not move one through
Redis.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cvat_lambda.engine.cvat.chunks import OpenChunks, TryAgain, translated
from cvat_lambda.engine.cvat.media import Media, Row
from cvat_lambda.engine.cvat.stream import Stream, framed, original
from cvat_lambda.engine.port import Frame, FrameFacts, UnreadableFrame
from cvat_lambda.errors import FrameOutOfScope

MAX_OPEN_CHUNKS: Final = 4  # of this process, for single frames
LOOK_S: Final = 0.5  # how long what a thread saw of a frame holds

_open_chunks = OpenChunks(MAX_OPEN_CHUNKS)


def read_frame(task_id: int, number: int) -> Frame:
    """One frame: its original file, or a chunk that stays open.

    Raise TaskNotFound, FrameOutOfScope, FrameUnreadable, EngineUnavailable.
    """
    media, row = _look(task_id, number)
    found = original(media, number, row)
    if found is not None:
        return found
    try:
        return _from_chunk(media, number, row)
    except TryAgain:
        media.look_again()  # the chunk was made anew since, if that is what it was
        return _from_chunk(media, number, row)


def _from_chunk(media: Media, number: int, row: Row | None) -> Frame:
    place = media.place(number)
    with translated(media.task_id, number):
        return framed(number, _open_chunks.get(place).read(place.position), row)


def read_frames(
    task_id: int, numbers: Sequence[int], *, job_id: int | None = None
) -> Iterator[Frame | UnreadableFrame]:
    """Frames in ascending order, each chunk opened once. Raise as `read_frame`.

    What cannot be read alone is an `UnreadableFrame`; the stream goes on behind it.
    """
    media = Media.of_task(task_id, job_id=job_id)
    for number in numbers:
        media.require(number)
    return Stream(media).read(numbers)


def read_facts(task_id: int, numbers: Collection[int]) -> dict[int, FrameFacts]:
    """Names and sizes of those frames that the task has. Raise TaskNotFound."""
    try:
        media = Media.of_task(task_id)
    except FrameOutOfScope:  # nothing was uploaded yet
        return {}
    inside = sorted(number for number in set(numbers) if 0 <= number < media.data.size)
    video = media.video()
    rows = dict.fromkeys(inside, video) if video is not None else media.rows(inside)
    return {
        number: FrameFacts(name=row.path, width=row.width, height=row.height)
        for number, row in rows.items()
    }


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
    row = media.row(number)
    _looks.last = _Look(task_id=task_id, number=number, until=now + LOOK_S, media=media, row=row)
    return media, row
