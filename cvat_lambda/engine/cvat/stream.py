"""The frames of a request in order. Each file or chunk is read once.

Threads encode the next frames of a video in advance. If a storage does not answer, the stream
retries for `RETRY_FOR_S`. The frames of a chunk that still cannot be read are `UnreadableFrame`; a
second such chunk in a row ends the stream.
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
    EncodedImage,
    MissingInCloud,
    OpenChunk,
    TemporarilyUnavailable,
    apply_orientation,
    encode_png,
    translate_errors,
)
from cvat_lambda.engine.cvat.media import ChunkPosition, Row, TaskMedia
from cvat_lambda.engine.port import Frame, UnreadableFrame
from cvat_lambda.errors import FrameUnreadable

logger = logging.getLogger(__name__)

T = TypeVar("T")

POINT_CLOUD: Final = ".pcd"  # the only format that CVAT stores

RETRY_FOR_S: Final = 120.0  # as long as the writer retries the database
ROWS_PER_QUERY: Final = 500  # image rows read in advance
ENCODERS: Final = min(4, os.cpu_count() or 1)  # threads that encode frames of a video
MAX_PENDING: Final = 2 * ENCODERS  # decoded frames of a video in memory

Ready = tuple[int, "Row | None", "EncodedImage | Future[EncodedImage]"]


def read_original(media: TaskMedia, number: int, row: Row | None) -> Frame | None:
    """Return the frame from its original file; None if the file is not on this disk.

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
    with translate_errors(media.task_id, number):
        return to_frame(number, apply_orientation(content), row)


def to_frame(number: int, picture: EncodedImage, row: Row | None) -> Frame:
    """Return an encoded image as the port's frame."""
    return Frame(
        number=number,
        data=picture.data,
        mime=picture.mime,
        name=row.path if row is not None else "",
        width=row.width if row is not None else picture.width,
        height=row.height if row is not None else picture.height,
    )


class FrameStream:
    """Reads frames of a task. One thread uses it."""

    def __init__(self, media: TaskMedia) -> None:
        self._media = media
        self._chunk: OpenChunk | None = None
        self._opened: object = None  # the key of that chunk
        self._given_up: object = None  # segment and number of the chunk that could not be read
        self._broken: object = None  # the key of the chunk that could not be opened
        self._encoders: ThreadPoolExecutor | None = None

    def read(self, numbers: Sequence[int]) -> Iterator[Frame | UnreadableFrame]:
        """Yield frames in the given ascending order. Raise EngineUnavailable, TaskNotFound."""
        waiting: deque[Frame | UnreadableFrame | Ready] = deque()
        try:
            for start in range(0, len(numbers), ROWS_PER_QUERY):
                piece = numbers[start : start + ROWS_PER_QUERY]
                rows = self._with_retries(piece[0], partial(self._media.rows, piece))
                for number in piece:
                    waiting.append(self._next(number, rows.get(number)))
                    while waiting and (len(waiting) > MAX_PENDING or not _is_pending(waiting[0])):
                        yield self._finished(waiting.popleft())
            while waiting:
                yield self._finished(waiting.popleft())
        finally:
            self._close()
            if self._encoders is not None:
                self._encoders.shutdown(cancel_futures=True)

    def _next(self, number: int, row: Row | None) -> Frame | UnreadableFrame | Ready:
        try:
            found = read_original(self._media, number, row)
            if found is not None:
                return found
            return number, row, self._with_retries(number, partial(self._from_chunk, number))
        except FrameUnreadable as exc:
            return UnreadableFrame(number=number, error=exc)

    def _finished(self, item: Frame | UnreadableFrame | Ready) -> Frame | UnreadableFrame:
        if isinstance(item, Frame | UnreadableFrame):
            return item
        number, row, picture = item
        try:
            with translate_errors(self._media.task_id, number):
                done = picture.result() if isinstance(picture, Future) else picture
                return to_frame(number, done, row)
        except FrameUnreadable as exc:
            return UnreadableFrame(number=number, error=exc)

    def _from_chunk(self, number: int) -> EncodedImage | Future[EncodedImage]:
        place = self._media.place(number)
        if self._chunk is None or self._opened != place.key:
            self._close()
            self._chunk, self._opened = self._open(number, place), place.key
        item = self._chunk.item(place.position)
        if not self._chunk.is_video:
            return apply_orientation(item)
        if self._encoders is None:
            self._encoders = ThreadPoolExecutor(ENCODERS, thread_name_prefix="encoder")
        return self._encoders.submit(encode_png, item)

    def _open(self, number: int, place: ChunkPosition) -> OpenChunk:
        # Without this check CVAT would try to make the chunk again for each of its frames.
        if place.key == self._broken:
            raise FrameUnreadable(
                f"frame {number} of task #{self._media.task_id} is in a chunk that cannot be made"
            )
        try:
            with translate_errors(self._media.task_id, number):
                return OpenChunk(place)
        except FrameUnreadable:
            self._broken = place.key
            raise

    def _with_retries(self, number: int, attempt: Callable[[], T]) -> T:
        """Raise FrameUnreadable, or EngineUnavailable if the whole storage does not answer."""
        give_up_at = time.monotonic() + RETRY_FOR_S
        pause_s = 0.1
        retried = False
        while True:
            try:
                with translate_errors(self._media.task_id, number):
                    found = attempt()
            except MissingInCloud:
                if retried:
                    raise
                retried, self._broken = True, None
            except TemporarilyUnavailable as exc:
                self._close()
                self._raise_unless_retryable(number, exc, late=time.monotonic() > give_up_at)
                logger.warning("%s; trying again", exc, extra={"action": "frame_retried"})
                if isinstance(exc.__cause__, DatabaseError | InterfaceError):
                    connection.close()
                time.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(2.0, pause_s * 2)
                self._media.refresh_segments()
            else:
                return found

    def _raise_unless_retryable(
        self, number: int, error: TemporarilyUnavailable, *, late: bool
    ) -> None:
        """Raise if there is no time left, or if the same chunk was given up before."""
        chunk = self._chunk_of(number)
        if chunk is not None and chunk == self._given_up:
            raise FrameUnreadable(error.message) from error
        if late:
            if chunk is None or self._given_up is not None:
                raise error
            self._given_up = chunk
            raise FrameUnreadable(error.message) from error

    def _chunk_of(self, number: int) -> object:
        """Return the segment and the chunk of a frame, or None if it cannot be found now."""
        try:
            with translate_errors(self._media.task_id, number):
                place = self._media.place(number)
        except (TemporarilyUnavailable, FrameUnreadable):
            return None
        return place.segment_id, place.chunk

    def _close(self) -> None:
        if self._chunk is not None:
            self._chunk.close()
        self._chunk = self._opened = None


def _is_pending(item: Frame | UnreadableFrame | Ready) -> bool:
    """Return whether a thread still encodes it."""
    return isinstance(item, tuple) and isinstance(item[2], Future) and not item[2].done()
