"""The frames of a task: where each of them lies, on this disk or in which chunk."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cvat.apps.engine import models

from cvat_lambda.engine.cvat.facts import data_of
from cvat_lambda.engine.cvat.prepared import Prepared
from cvat_lambda.errors import FrameOutOfScope, FrameUnreadable, TaskNotFound

_IMAGE_COLUMNS: Final = ("path", "width", "height")
_IMAGE: Final = Prepared(
    lambda data_id, frame: models.Image.objects.filter(data_id=data_id, frame=frame).values_list(
        *_IMAGE_COLUMNS
    )
)
_SEGMENTS: Final = Prepared(
    lambda task_id: (
        models.Segment.objects.filter(task_id=task_id)
        .order_by("start_frame", "pk")
        .values_list("pk", "type", "start_frame", "stop_frame", "frames", "chunks_updated_date")
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What CVAT's tables of images and videos say of a frame."""

    path: str  # relative to the folder of the raw data
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a frame is among the chunks."""

    segment_id: int
    chunks_made_at: object  # CVAT dates a segment's chunks anew when they change
    chunk: int
    position: int  # in the chunk

    @property
    def key(self) -> tuple[int, int, object]:
        """What names the content of the chunk."""
        return self.segment_id, self.chunk, self.chunks_made_at


@dataclass(frozen=True, slots=True, kw_only=True)
class _Segment:
    id: int
    is_whole: bool  # a range, not chosen frames
    frames: Sequence[int]  # absolute, ascending
    chunks_made_at: object


@dataclass(slots=True, kw_only=True)
class Media:
    """The frames of a task, in numbers relative to it."""

    task_id: int
    data: Any
    job_id: int | None = None  # its segment is asked first
    _segments: list[_Segment] | None = None

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

    def row(self, number: int) -> Row | None:
        """The image row of one frame; None in a video."""
        found = _IMAGE.first(self.data.pk, self.absolute(number))
        return None if found is None else Row(path=found[0], width=found[1], height=found[2])

    def rows(self, numbers: Sequence[int]) -> dict[int, Row]:
        """The image rows of frames; a video has none."""
        wanted = {self.absolute(number): number for number in numbers}
        rows = models.Image.objects.filter(data_id=self.data.pk)
        if wanted and max(wanted) - min(wanted) < 2 * len(wanted):
            # Some too many are no matter; Django takes its time over a list of numbers.
            rows = rows.filter(frame__gte=min(wanted), frame__lte=max(wanted))
        else:
            rows = rows.filter(frame__in=list(wanted))
        return {
            wanted[frame]: Row(path=path, width=width, height=height)
            for frame, path, width, height in rows.values_list("frame", *_IMAGE_COLUMNS)
            if frame in wanted
        }

    def video(self) -> Row | None:
        """The video's row, which all its frames share; None where the frames are images."""
        found = models.Video.objects.filter(data_id=self.data.pk).values_list(*_IMAGE_COLUMNS)
        row = found.first()
        return None if row is None else Row(path=row[0], width=row[1], height=row[2])

    def place(self, number: int) -> Place:
        """The chunk that holds a frame. Raise FrameUnreadable."""
        wanted = self.absolute(number)
        for segment in self._known_segments():
            index = bisect_left(segment.frames, wanted)
            if index < len(segment.frames) and segment.frames[index] == wanted:
                chunk, position = divmod(index, self.data.chunk_size)
                return Place(
                    segment_id=segment.id,
                    chunks_made_at=segment.chunks_made_at,
                    chunk=chunk,
                    position=position,
                )
        raise FrameUnreadable(f"frame {number} of task #{self.task_id} is in none of its jobs")

    def look_again(self) -> None:
        """Ask for the segments anew: CVAT may have made their chunks anew."""
        self._segments = None

    def _known_segments(self) -> list[_Segment]:
        """Segments, the job's own first, whole ranges before chosen frames."""
        if self._segments is None:
            found = [self._segment(*values) for values in _SEGMENTS.rows(self.task_id)]
            mine = self._segment_of_job()
            found.sort(key=lambda segment: (segment.id != mine, not segment.is_whole))
            self._segments = found
        return self._segments

    def _segment_of_job(self) -> int | None:
        if self.job_id is None:
            return None
        jobs = models.Job.objects.filter(pk=self.job_id)
        segment_id: int | None = jobs.values_list("segment_id", flat=True).first()
        return segment_id

    def _segment(
        self, pk: int, kind: str, first: int, last: int, chosen: str, made_at: object
    ) -> _Segment:
        step = int(self.data.get_frame_step())
        end = min(self.absolute(last), int(self.data.stop_frame))
        frames: Sequence[int] = range(self.absolute(first), end + step, step)
        is_whole = str(kind) == str(models.SegmentType.RANGE)
        if not is_whole:
            among = frames
            numbers = map(int, chosen.split(",")) if chosen else ()
            frames = sorted(number for number in numbers if number in among)
        return _Segment(id=pk, is_whole=is_whole, frames=frames, chunks_made_at=made_at)
