"""Where the frames of a task are: the image files and the chunks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cvat.apps.engine import models

from cvat_lambda.engine.cvat.tasks import data_of
from cvat_lambda.errors import FrameOutOfScope, FrameUnreadable, TaskNotFound
from cvat_lambda.prepared import PreparedQuery

_IMAGE_COLUMNS: Final = ("path", "width", "height")
_IMAGE: Final[PreparedQuery[tuple[Any, ...]]] = PreparedQuery(
    lambda data_id, frame: models.Image.objects.filter(data_id=data_id, frame=frame).values_list(
        *_IMAGE_COLUMNS
    ),
    int,
    int,
)
_LISTED_IMAGES: Final[PreparedQuery[tuple[Any, ...]]] = PreparedQuery(
    lambda data_id, frames: (
        models.Image.objects.filter(data_id=data_id, frame__in=frames)
        .order_by()
        .values_list("frame", *_IMAGE_COLUMNS)
    ),
    int,
    list,
)
_SEGMENTS: Final[PreparedQuery[tuple[Any, ...]]] = PreparedQuery(
    lambda task_id: (
        models.Segment.objects.filter(task_id=task_id)
        .order_by("start_frame", "pk")
        .values_list("pk", "type", "start_frame", "stop_frame", "frames", "chunks_updated_date")
    ),
    int,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The columns of a frame in CVAT's tables of images and videos."""

    path: str  # relative to the folder of the raw data
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkPosition:
    """The chunk of a frame and its position in it."""

    segment_id: int
    chunks_updated_at: object  # CVAT changes this time when it makes the segment's chunks again
    chunk: int
    position: int  # in the chunk

    @property
    def key(self) -> tuple[int, int, object]:
        """The key of the chunk's content."""
        return self.segment_id, self.chunk, self.chunks_updated_at


@dataclass(frozen=True, slots=True, kw_only=True)
class _Segment:
    id: int
    is_whole: bool  # a range, not chosen frames
    frames: Sequence[int]  # absolute, ascending
    chunks_updated_at: object


@dataclass(slots=True, kw_only=True)
class TaskMedia:
    """The frames of a task, in numbers relative to it."""

    task_id: int
    data: Any
    job_id: int | None = None  # its segment is searched first
    _segments: list[_Segment] | None = None

    @classmethod
    def of_task(cls, task_id: int, *, job_id: int | None = None) -> TaskMedia:
        """Return the media of a task. Raise TaskNotFound, FrameOutOfScope (a task without data)."""
        data = data_of(task_id)
        if data is None:
            if models.Task.objects.filter(pk=task_id).exists():
                raise FrameOutOfScope(f"task #{task_id} has no frames yet")
            raise TaskNotFound(f"task #{task_id} was not found")
        return cls(task_id=task_id, data=data, job_id=job_id)

    @property
    def folder(self) -> Path:
        """The folder of the original files."""
        return Path(self.data.get_raw_data_dirname())

    def absolute(self, number: int) -> int:
        """Return a frame's number in the upload."""
        return int(self.data.start_frame) + number * int(self.data.get_frame_step())

    def require(self, number: int) -> None:
        """Raise FrameOutOfScope for a number that is not in the task."""
        if not 0 <= number < self.data.size:
            raise FrameOutOfScope(f"frame {number} is not in task #{self.task_id}")

    def row(self, number: int) -> Row | None:
        """Return the image row of one frame; None if the task is a video."""
        found = _IMAGE.first(self.data.pk, self.absolute(number))
        return None if found is None else Row(path=found[0], width=found[1], height=found[2])

    def rows(self, numbers: Sequence[int]) -> dict[int, Row]:
        """Return the image rows of frames by number. A video has none."""
        wanted = {self.absolute(number): number for number in numbers}
        rows = models.Image.objects.filter(data_id=self.data.pk)
        if wanted and max(wanted) - min(wanted) < 2 * len(wanted):
            # A range may match a few more frames, but is faster than a list of numbers.
            rows = rows.filter(frame__gte=min(wanted), frame__lte=max(wanted))
        else:
            rows = rows.filter(frame__in=list(wanted))
        return {
            wanted[frame]: Row(path=path, width=width, height=height)
            for frame, path, width, height in rows.values_list("frame", *_IMAGE_COLUMNS)
            if frame in wanted
        }

    def listed_rows(self, numbers: Sequence[int]) -> dict[int, Row]:
        """Return the image rows of a few frames by number, as `rows` does."""
        wanted = {self.absolute(number): number for number in numbers}
        return {
            wanted[frame]: Row(path=path, width=width, height=height)
            for frame, path, width, height in _LISTED_IMAGES.rows(self.data.pk, list(wanted))
        }

    def video(self) -> Row | None:
        """Return the row that all frames of the video share; None if the frames are images."""
        found = models.Video.objects.filter(data_id=self.data.pk).values_list(*_IMAGE_COLUMNS)
        row = found.first()
        return None if row is None else Row(path=row[0], width=row[1], height=row[2])

    def place(self, number: int) -> ChunkPosition:
        """Return the chunk that holds a frame, and the position in it. Raise FrameUnreadable."""
        wanted = self.absolute(number)
        for segment in self._known_segments():
            index = bisect_left(segment.frames, wanted)
            if index < len(segment.frames) and segment.frames[index] == wanted:
                chunk, position = divmod(index, self.data.chunk_size)
                return ChunkPosition(
                    segment_id=segment.id,
                    chunks_updated_at=segment.chunks_updated_at,
                    chunk=chunk,
                    position=position,
                )
        raise FrameUnreadable(f"frame {number} of task #{self.task_id} is in none of its jobs")

    def refresh_segments(self) -> None:
        """Forget the segments. CVAT may have made their chunks again."""
        self._segments = None

    def _known_segments(self) -> list[_Segment]:
        """Return the segments: that of the job first, then ranges, then those of chosen frames."""
        if self._segments is None:
            found = [self._segment(*values) for values in _SEGMENTS.rows(self.task_id)]
            own_id = self._segment_of_job()
            found.sort(key=lambda segment: (segment.id != own_id, not segment.is_whole))
            self._segments = found
        return self._segments

    def _segment_of_job(self) -> int | None:
        if self.job_id is None:
            return None
        jobs = models.Job.objects.filter(pk=self.job_id)
        segment_id: int | None = jobs.values_list("segment_id", flat=True).first()
        return segment_id

    def _segment(
        self,
        pk: int,
        kind: str,
        first: int,
        last: int,
        chosen: Iterable[int],
        chunks_updated_at: object,
    ) -> _Segment:
        step = int(self.data.get_frame_step())
        end = min(self.absolute(last), int(self.data.stop_frame))
        frames: Sequence[int] = range(self.absolute(first), end + step, step)
        is_whole = str(kind) == str(models.SegmentType.RANGE)
        if not is_whole:
            among = frames
            frames = sorted(number for number in chosen if number in among)
        return _Segment(
            id=pk, is_whole=is_whole, frames=frames, chunks_updated_at=chunks_updated_at
        )
