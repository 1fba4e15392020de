"""Whose annotations are meant: a task's, a job's view of them, or those of a job of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from django.db.models import Q, QuerySet

from cvat_lambda.engine.standalone import models
from cvat_lambda.errors import JobNotFound

_MANY = 500  # ids or frames in one condition; SQLite before 3.32 takes 999 variables

Item = TypeVar("Item", int, str)
Row = TypeVar("Row", models.LabeledTag, models.LabeledShape, models.LabeledTrack)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationScope:
    """A task's shared annotations, or a job's view of them, or those of a job that has its own."""

    task_id: int
    private_job_id: int | None = None  # of a job whose annotations are its own
    frames: Sequence[int] | None = None  # of the job, ascending; None: the whole task

    def rows(self, table: type[Row]) -> QuerySet[Row]:
        """The rows of the scope, whatever their frame."""
        return table._default_manager.filter(self.condition())

    def condition(self, prefix: str = "") -> Q:
        """What the scope's rows have in common, seen from what `prefix` leads to them."""
        return Q(**{f"{prefix}task_id": self.task_id, f"{prefix}job_id": self.private_job_id})

    def on_frames(self, frames: Collection[int] | None) -> Collection[int] | None:
        """The frames asked for, as far as they belong to the scope."""
        if self.frames is None:
            return frames
        if frames is None:
            return self.frames
        mine = self.frames if isinstance(self.frames, range) else frozenset(self.frames)
        return [frame for frame in frames if frame in mine]


def scope_of(task_id: int, job_id: int | None = None) -> AnnotationScope:
    """What a task or a job of it shows. Raise JobNotFound."""
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
    """The items in pieces that a statement can name."""
    ordered = list(items)
    for start in range(0, len(ordered), _MANY):
        yield ordered[start : start + _MANY]


def frame_conditions(frames: Collection[int] | None, name: str = "frame") -> Iterator[Q]:
    """Conditions that together select the frames, each small enough for a statement."""
    if frames is None:
        yield Q()
    elif isinstance(frames, range) and frames.step == 1:
        if frames:
            yield Q(**{f"{name}__gte": frames[0], f"{name}__lte": frames[-1]})
    else:
        for some in parameter_batches(frames):
            yield Q(**{f"{name}__in": some})
