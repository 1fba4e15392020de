"""Frames of a run, in order: each file or chunk read once, frames of videos encoded ahead.

A storage that is away for a while does not end a run. It is waited for; a chunk that cannot be had
after all costs its own frames, and a second one in a row ends the stream.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from django.db import DatabaseError, InterfaceError, connection

from cvat_lambda.engine.cvat.chunks import (
    NotInCloud,
    OpenChunk,
    Picture,
    TryAgain,
    encode,
    translated,
    upright,
)
from cvat_lambda.engine.cvat.media import Media, Place, Row
from cvat_lambda.engine.port import Frame, UnreadableFrame
from cvat_lambda.errors import FrameUnreadable

logger = logging.getLogger(__name__)

T = TypeVar("T")

POINT_CLOUD: Final = ".pcd"  # the only kind that CVAT keeps

PATIENCE_S: Final = 120.0  # as the writer's with the database
ROWS_AT_ONCE: Final = 500  # image rows read ahead
ENCODERS: Final = min(4, os.cpu_count() or 1)  # threads that make PNG of a video's frames
AHEAD: Final = 2 * ENCODERS  # decoded frames of a video that wait for that, at most

Ready = tuple[int, "Row | None", "Picture | Future[Picture]"]


def original(media: Media, number: int, row: Row | None) -> Frame | None:
    """The frame from its original file; None where CVAT does not keep it on this disk.

    Raise FrameUnreadable.
    """
    if row is None:
        return None
    if row.path.endswith(POINT_CLOUD):
        raise FrameUnreadable(
            f"frame {number} of task #{media.task_id} is a point cloud: functions work on images"
            " and video"
        )
    try:
        content = (media.folder / row.path).read_bytes()
    except OSError:
        return None
    with translated(media.task_id, number):
        return framed(number, upright(content), row)


def framed(number: int, picture: Picture, row: Row | None) -> Frame:
    """A picture as the port's frame."""
    return Frame(
        number=number,
        data=picture.data,
        mime=picture.mime,
        name=row.path if row is not None else "",
        width=row.width if row is not None else picture.width,
        height=row.height if row is not None else picture.height,
    )


class Stream:
    """Reads frames of a task; used by one thread."""

    def __init__(self, media: Media) -> None:
        self._media = media
        self._chunk: OpenChunk | None = None
        self._opened: object = None  # the key of that chunk
        self._given_up: object = None  # segment and number of the chunk that could not be had
        self._broken: object = None  # the key of the chunk that cannot be opened
        self._encoders: ThreadPoolExecutor | None = None

    def read(self, numbers: Sequence[int]) -> Iterator[Frame | UnreadableFrame]:
        """Frames in the given ascending order. Raise EngineUnavailable, TaskNotFound."""
        waiting: deque[Frame | UnreadableFrame | Ready] = deque()
        try:
            for start in range(0, len(numbers), ROWS_AT_ONCE):
                piece = numbers[start : start + ROWS_AT_ONCE]
                rows = self._patiently(piece[0], partial(self._media.rows, piece))
                for number in piece:
                    waiting.append(self._next(number, rows.get(number)))
                    while waiting and (len(waiting) > AHEAD or not _is_pending(waiting[0])):
                        yield self._finished(waiting.popleft())
            while waiting:
                yield self._finished(waiting.popleft())
        finally:
            self._close()
            if self._encoders is not None:
                self._encoders.shutdown(cancel_futures=True)

    def _next(self, number: int, row: Row | None) -> Frame | UnreadableFrame | Ready:
        try:
            found = original(self._media, number, row)
            if found is not None:
                return found
            return number, row, self._patiently(number, partial(self._from_chunk, number))
        except FrameUnreadable as exc:
            return UnreadableFrame(number=number, error=exc)

    def _finished(self, item: Frame | UnreadableFrame | Ready) -> Frame | UnreadableFrame:
        if isinstance(item, Frame | UnreadableFrame):
            return item
        number, row, picture = item
        try:
            with translated(self._media.task_id, number):
                done = picture.result() if isinstance(picture, Future) else picture
                return framed(number, done, row)
        except FrameUnreadable as exc:
            return UnreadableFrame(number=number, error=exc)

    def _from_chunk(self, number: int) -> Picture | Future[Picture]:
        place = self._media.place(number)
        if self._chunk is None or self._opened != place.key:
            self._close()
            self._chunk, self._opened = self._open(number, place), place.key
        item = self._chunk.item(place.position)
        if not self._chunk.is_video:
            return upright(item)
        if self._encoders is None:
            self._encoders = ThreadPoolExecutor(ENCODERS, thread_name_prefix="encoder")
        return self._encoders.submit(encode, item)

    def _open(self, number: int, place: Place) -> OpenChunk:
        if place.key == self._broken:  # to make it costs as much as it would for all of its frames
            raise FrameUnreadable(
                f"frame {number} of task #{self._media.task_id} is in a chunk that cannot be made"
            )
        try:
            with translated(self._media.task_id, number):
                return OpenChunk(place)
        except FrameUnreadable:
            self._broken = place.key
            raise

    def _patiently(self, number: int, attempt: Callable[[], T]) -> T:
        """Raise FrameUnreadable, or EngineUnavailable where the storage as a whole is away."""
        give_up_at = time.monotonic() + PATIENCE_S
        pause_s = 0.1
        asked_again = False
        while True:
            try:
                with translated(self._media.task_id, number):
                    found = attempt()
            except NotInCloud:
                if asked_again:
                    raise
                asked_again, self._broken = True, None
            except TryAgain as exc:
                self._close()
                self._decide(number, exc, late=time.monotonic() > give_up_at)
                logger.warning("%s; trying again", exc, extra={"action": "frame_retried"})
                if isinstance(exc.__cause__, DatabaseError | InterfaceError):
                    connection.close()
                time.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(2.0, pause_s * 2)
                self._media.look_again()
            else:
                return found

    def _decide(self, number: int, error: TryAgain, *, late: bool) -> None:
        """Return to try again; else raise."""
        chunk = self._chunk_of(number)
        if chunk is not None and chunk == self._given_up:
            raise FrameUnreadable(error.message) from error
        if late:
            if chunk is None or self._given_up is not None:
                raise error
            self._given_up = chunk
            raise FrameUnreadable(error.message) from error

    def _chunk_of(self, number: int) -> object:
        """Which chunk a frame is in; None where that is not known now."""
        try:
            with translated(self._media.task_id, number):
                place = self._media.place(number)
        except (TryAgain, FrameUnreadable):
            return None
        return place.segment_id, place.chunk

    def _close(self) -> None:
        if self._chunk is not None:
            self._chunk.close()
        self._chunk = self._opened = None


def _is_pending(item: Frame | UnreadableFrame | Ready) -> bool:
    """Whether it still is being encoded."""
    return isinstance(item, tuple) and isinstance(item[2], Future) and not item[2].done()
