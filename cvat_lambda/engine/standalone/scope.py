"""Select the rows of annotations that belong to a task or a job."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from django.db.models import Q, QuerySet

from cvat_lambda.engine.standalone import models
from cvat_lambda.errors import JobNotFound

_MANY = 500  # ids or frames in one condition; SQLite before 3.32 allows 999 variables

Item = TypeVar("Item", int, str)
Row = TypeVar("Row", models.LabeledTag, models.LabeledShape, models.LabeledTrack)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationScope:
    """A task's annotations, a job's part of them, or the private annotations of a job."""

    task_id: int
    private_job_id: int | None = None  # of a ground-truth job or a replica
    frames: Sequence[int] | None = None  # of the job, ascending; None: all frames of the task

    def rows(self, table: type[Row]) -> QuerySet[Row]:
        """Return the rows of the scope on all frames."""
        return table._default_manager.filter(self.condition())

    def condition(self, prefix: str = "") -> Q:
        """Return the condition of the scope's rows; `prefix` is the lookup path to their table."""
        return Q(**{f"{prefix}task_id": self.task_id, f"{prefix}job_id": self.private_job_id})

    def on_frames(self, frames: Collection[int] | None) -> Collection[int] | None:
        """Return the frames that belong to the scope."""
        if self.frames is None:
            return frames
        if frames is None:
            return self.frames
        mine = self.frames if isinstance(self.frames, range) else frozenset(self.frames)
        return [frame for frame in frames if frame in mine]


def scope_of(task_id: int, job_id: int | None = None) -> AnnotationScope:
    """Return the scope of a task or of one of its jobs. Raise JobNotFound."""
    if job_id is None:
        return AnnotationScope(task_id=task_id)
    job = (
        models.Job.objects.select_related("segment")
        .filter(pk=job_id, segment__task_id=task_id)
        .first()
    )
    if job is None:
        raise JobNotFound(f"job #{job_id} of task #{task_id} was not found")
    return AnnotationScope(
        task_id=task_id,
        private_job_id=job.pk if job.is_private else None,
        frames=job.segment.frame_numbers,
    )


def parameter_batches(items: Collection[Item]) -> Iterator[list[Item]]:
    """Yield the items in batches that fit into one statement."""
    ordered = list(items)
    for start in range(0, len(ordered), _MANY):
        yield ordered[start : start + _MANY]


def frame_conditions(frames: Collection[int] | None, name: str = "frame") -> Iterator[Q]:
    """Yield conditions that together select the frames, each small enough for one statement."""
    if frames is None:
        yield Q()
    elif isinstance(frames, range) and frames.step == 1:
        if frames:
            yield Q(**{f"{name}__gte": frames[0], f"{name}__lte": frames[-1]})
    else:
        for some in parameter_batches(frames):
            yield Q(**{f"{name}__in": some})
