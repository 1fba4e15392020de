"""The engine port on the embedded engine's own tables and files."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from django.db import transaction

from cvat_lambda.annotations.types import LabeledData, Track
from cvat_lambda.engine.port import Access, Change, Frame, Job, Task, UnreadableFrame, Written
from cvat_lambda.engine.standalone import models, reading, writing
from cvat_lambda.engine.standalone.access import StandaloneAccess
from cvat_lambda.engine.standalone.labels import label_tree
from cvat_lambda.engine.standalone.media import reader
from cvat_lambda.engine.standalone.scope import scope_of
from cvat_lambda.errors import FrameOutOfScope, JobNotFound, NotFound, TaskNotFound

if TYPE_CHECKING:
    from rest_framework.request import Request as HttpRequest

_TASK_FACTS = ("name", "project_id", "data__size", "data__deleted_frames")
_JOB_FACTS = ("pk", "type", "segment__start_frame", "segment__stop_frame", "segment__frames")


class StandaloneEngine:
    """Tasks, frames and annotations of this process' own database."""

    def access(self, request: HttpRequest) -> Access:
        return StandaloneAccess(request.user)

    def task(self, task_id: int) -> Task:
        """Raise TaskNotFound."""
        # Values and no instances: a call asks this, and making them is most of what it costs.
        facts = models.Task.objects.filter(pk=task_id).values(*_TASK_FACTS).first()
        if facts is None:
            raise TaskNotFound(f"task #{task_id} was not found")
        return Task(
            id=task_id,
            name=facts["name"],
            size=facts["data__size"] or 0,
            project_id=facts["project_id"],
            labels=label_tree(task_id, facts["project_id"]),
            deleted_frames=frozenset(facts["data__deleted_frames"] or ()),
            jobs=_jobs(task_id),
        )

    def job(self, job_id: int) -> Job:
        """Raise JobNotFound."""
        row = models.Job.objects.select_related("segment").filter(pk=job_id).first()
        if row is None:
            raise JobNotFound(f"job #{job_id} was not found")
        return _job(row)

    def project_task_ids(self, project_id: int) -> list[int]:
        """Raise NotFound."""
        if not models.Project.objects.filter(pk=project_id).exists():
            raise NotFound(f"project #{project_id} was not found")
        tasks = models.Task.objects.filter(project_id=project_id)
        return list(tasks.order_by("pk").values_list("pk", flat=True))

    def frame(self, task_id: int, number: int) -> Frame:
        """Raise FrameOutOfScope, FrameUnreadable, EngineUnavailable, TaskNotFound."""
        return reader.read_frame(task_id, number)

    def frame_key(self, task_id: int, number: int) -> str:
        """A key of the frame's content. Raise FrameOutOfScope, TaskNotFound."""
        image = models.Image.objects.filter(data__task_id=task_id, number=number)
        key = image.values_list("fingerprint", flat=True).first()
        if key is not None:
            return key
        data = models.Data.objects.filter(task_id=task_id).first()
        if data is None:
            self.task(task_id)  # tells an unknown task from one without frames
        if data is None or not 0 <= number < data.size:
            raise FrameOutOfScope(f"frame {number} is not in task #{task_id}")
        return f"{data.fingerprint}:{data.start_frame + number * data.step}"

    def frames(
        self, task_id: int, numbers: Sequence[int], *, job_id: int | None = None
    ) -> Iterator[Frame | UnreadableFrame]:
        """Frames in ascending order; each of a video is decoded once."""
        return reader.read_frames(task_id, numbers)

    def annotations(
        self, task_id: int, *, job_id: int | None = None, frames: Collection[int] | None = None
    ) -> LabeledData:
        """With ids; tracks that have a key frame on any of the frames."""
        return reading.read(scope_of(task_id, job_id), frames)

    def tracks(
        self, task_id: int, *, job_id: int | None = None, frames: Collection[int] | None = None
    ) -> tuple[Track, ...]:
        """Tracks that have a key frame on any of the frames, with ids."""
        return reading.read_tracks(scope_of(task_id, job_id), frames)

    def annotated_frames(self, task_id: int, *, job_id: int | None = None) -> set[int]:
        """Frames that carry at least one shape, tag or visible track."""
        size = models.Data.objects.filter(task_id=task_id).values_list("size", flat=True).first()
        return reading.annotated_frames(scope_of(task_id, job_id), size or 0)

    def atomic(self) -> AbstractContextManager[Any]:
        return transaction.atomic()

    def apply(self, change: Change) -> Written:
        """Carry out a change inside `atomic`. Raise InvalidRequest, TaskNotFound, JobNotFound."""
        return writing.apply(change)


def _jobs(task_id: int) -> tuple[Job, ...]:
    rows = models.Job.objects.filter(segment__task_id=task_id)
    ordered = rows.order_by("segment__start_frame", "pk")
    return tuple(
        Job(
            id=job_id,
            task_id=task_id,
            type=kind,
            frames=range(start, stop + 1) if frames is None else tuple(frames),
        )
        for job_id, kind, start, stop, frames in ordered.values_list(*_JOB_FACTS)
    )


def _job(row: models.Job) -> Job:
    return Job(
        id=row.pk,
        task_id=row.segment.task_id,
        type=row.type,  # type: ignore[arg-type]
        frames=row.segment.frame_numbers,
    )
