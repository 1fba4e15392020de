"""The engine port for the tasks, frames and annotations of a CVAT server."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from django.db import transaction

from cvat_lambda.annotations.types import LabeledData, Track
from cvat_lambda.engine.cvat import frames, reading, tasks, writing
from cvat_lambda.engine.cvat.access import CvatAccess
from cvat_lambda.engine.cvat.call_facts import read_call_facts
from cvat_lambda.engine.port import (
    Access,
    AnnotationKind,
    CallFacts,
    Change,
    Frame,
    FrameFacts,
    Job,
    Task,
    UnreadableFrame,
    Written,
)

if TYPE_CHECKING:
    from rest_framework.request import Request as HttpRequest


class CvatEngine:
    """CVAT as an engine: each method calls the module of this package that implements it."""

    def access(self, request: HttpRequest) -> Access:
        return CvatAccess(request)

    def task(self, task_id: int) -> Task:
        """Return a task. Raise TaskNotFound."""
        return tasks.read_task(task_id)

    def tasks(self, task_ids: Collection[int]) -> dict[int, Task]:
        """Return the tasks that exist, by id."""
        return tasks.read_tasks(task_ids)

    def task_ids(self) -> Any:
        """Return a subquery for ``task_id__in``: all tasks."""
        return tasks.all_task_ids()

    def job(self, job_id: int) -> Job:
        """Return a job. Raise JobNotFound."""
        return tasks.read_job(job_id)

    def jobs(self, job_ids: Collection[int]) -> dict[int, Job]:
        """Return the jobs that exist, by id."""
        return tasks.read_jobs(job_ids)

    def project_task_ids(self, project_id: int) -> list[int]:
        """Return the ids of a project's tasks. Raise NotFound."""
        return tasks.project_task_ids(project_id)

    def frame(self, task_id: int, number: int) -> Frame:
        """Return a frame. Raise as `frames.read_frame`."""
        return frames.read_frame(task_id, number)

    def frame_facts(self, task_id: int, numbers: Collection[int]) -> dict[int, FrameFacts]:
        """Return names and sizes of the frames that exist. Raise TaskNotFound."""
        return frames.read_facts(task_id, numbers)

    def call_facts(
        self, access: Access, *, task_id: int | None, job_id: int | None, frames: Collection[int]
    ) -> CallFacts:
        """Return the facts of a task or job. Raise as `read_call_facts`."""
        return read_call_facts(access, task_id=task_id, job_id=job_id, frames=frames)

    def frame_key(self, task_id: int, number: int) -> str:
        """Return a key of the frame's content. Raise TaskNotFound, FrameOutOfScope."""
        return frames.frame_key(task_id, number)

    def frames(
        self,
        task_id: int,
        numbers: Sequence[int],
        *,
        job_id: int | None = None,
        max_bmp_bytes: int = 0,
    ) -> Iterator[Frame | UnreadableFrame]:
        """Yield frames in ascending order. Each file or chunk is read once; none is encoded."""
        return frames.read_frames(task_id, numbers, job_id=job_id)

    def annotations(
        self, task_id: int, *, job_id: int | None = None, frames: Collection[int] | None = None
    ) -> LabeledData:
        """Return annotations with ids. A track needs a keyframe on any of the frames."""
        return reading.read(task_id, job_id=job_id, frames=frames)

    def tracks(
        self, task_id: int, *, job_id: int | None = None, frames: Collection[int] | None = None
    ) -> tuple[Track, ...]:
        """Return the tracks with a keyframe on any of the frames, with ids."""
        return reading.read_tracks(task_id, job_id=job_id, frames=frames)

    def annotated_frames(self, task_id: int, *, job_id: int | None = None) -> set[int]:
        """Return the frames that have at least one shape, tag or visible track."""
        return reading.annotated_frames(task_id, job_id)

    def existing_ids(self, kind: AnnotationKind, ids: Collection[int]) -> set[int]:
        """Return those of the ids that annotations of this kind have."""
        return reading.existing_ids(kind, ids)

    def last_track_id(self, task_id: int) -> int:
        """Return the highest id of the tracks of a task, or 0 if it has none."""
        return reading.last_track_id(task_id)

    def atomic(self) -> AbstractContextManager[Any]:
        return transaction.atomic()

    def lock_annotations(
        self,
        task_id: int,
        *,
        shape_ids: Collection[int] = (),
        tag_ids: Collection[int] = (),
        track_ids: Collection[int] = (),
    ) -> LabeledData:
        """Lock annotations until the transaction ends, and return them. Raise TaskNotFound."""
        writing.lock_rows(task_id, shape_ids, tag_ids, track_ids)
        return reading.read_ids(task_id, shape_ids, tag_ids, track_ids)

    def apply(self, change: Change) -> Written:
        """Carry out a change inside `atomic`. Raise InvalidRequest, TaskNotFound, JobNotFound."""
        return writing.apply(change)
