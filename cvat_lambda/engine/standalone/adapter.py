"""The engine port on the tables and files of the standalone engine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Max, QuerySet

from cvat_lambda.annotations.types import Label, LabeledData, Track
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
from cvat_lambda.engine.standalone import models, reading, writing
from cvat_lambda.engine.standalone.access import StandaloneAccess
from cvat_lambda.engine.standalone.call_facts import read_call_facts
from cvat_lambda.engine.standalone.labels import label_tree, label_trees
from cvat_lambda.engine.standalone.media import reader
from cvat_lambda.engine.standalone.scope import parameter_batches, scope_of
from cvat_lambda.errors import FrameOutOfScope, JobNotFound, ProjectNotFound, TaskNotFound

if TYPE_CHECKING:
    from rest_framework.request import Request as HttpRequest

_TASK_FACTS = ("pk", "name", "project_id", "data__size", "data__deleted_frames")
_JOB_FACTS = (
    "segment__task_id",
    "pk",
    "type",
    "segment__start_frame",
    "segment__stop_frame",
    "segment__frames",
)


class StandaloneEngine:
    """Tasks, frames and annotations in the app's own database."""

    def access(self, request: HttpRequest) -> Access:
        return StandaloneAccess(request.user)

    def call_facts(
        self, access: Access, *, task_id: int | None, job_id: int | None, frames: Collection[int]
    ) -> CallFacts:
        """Raise TaskNotFound, JobNotFound."""
        return read_call_facts(access, task_id=task_id, job_id=job_id, frames=frames)

    def task(self, task_id: int) -> Task:
        """Raise TaskNotFound."""
        # Values instead of model instances: creating instances would dominate the cost of a call.
        facts = models.Task.objects.filter(pk=task_id).values(*_TASK_FACTS).first()
        if facts is None:
            raise TaskNotFound(f"task #{task_id} was not found")
        jobs = models.Job.objects.filter(segment__task_id=task_id)
        return _task(
            facts, label_tree(task_id, facts["project_id"]), [job for _, job in _jobs(jobs)]
        )

    def tasks(self, task_ids: Collection[int]) -> dict[int, Task]:
        """Return the existing ones by id."""
        found: dict[int, Task] = {}
        for some in parameter_batches(task_ids):
            rows = list(models.Task.objects.filter(pk__in=some).values(*_TASK_FACTS))
            trees = label_trees(
                [row["pk"] for row in rows if row["project_id"] is None],
                {row["project_id"] for row in rows} - {None},
            )
            jobs: dict[int, list[Job]] = defaultdict(list)
            for task_id, job in _jobs(models.Job.objects.filter(segment__task_id__in=some)):
                jobs[task_id].append(job)
            for row in rows:
                project_id = row["project_id"]
                owner = (row["pk"] if project_id is None else None, project_id)
                found[row["pk"]] = _task(row, trees.get(owner, ()), jobs[row["pk"]])
        return found

    def task_ids(self) -> Any:
        """Return a subquery for ``task_id__in``."""
        return models.Task.objects.values("pk")

    def job(self, job_id: int) -> Job:
        """Raise JobNotFound."""
        for _, job in _jobs(models.Job.objects.filter(pk=job_id)):
            return job
        raise JobNotFound(f"job #{job_id} was not found")

    def jobs(self, job_ids: Collection[int]) -> dict[int, Job]:
        """Return the existing ones by id."""
        return {
            job.id: job
            for some in parameter_batches(job_ids)
            for _, job in _jobs(models.Job.objects.filter(pk__in=some))
        }

    def project_task_ids(self, project_id: int) -> list[int]:
        """Raise ProjectNotFound."""
        if not models.Project.objects.filter(pk=project_id).exists():
            raise ProjectNotFound(f"project #{project_id} was not found")
        tasks = models.Task.objects.filter(project_id=project_id)
        return list(tasks.order_by("pk").values_list("pk", flat=True))

    def frame(self, task_id: int, number: int) -> Frame:
        """Raise FrameOutOfScope, FrameUnreadable, EngineUnavailable, TaskNotFound."""
        return reader.read_frame(task_id, number)

    def frame_facts(self, task_id: int, numbers: Collection[int]) -> dict[int, FrameFacts]:
        """Return names and sizes of the frames that exist. Raise TaskNotFound."""
        return reader.read_facts(task_id, numbers)

    def frame_key(self, task_id: int, number: int) -> str:
        """Return a key of the frame's content. Raise FrameOutOfScope, TaskNotFound."""
        image = models.Image.objects.filter(data__task_id=task_id, number=number)
        key = image.values_list("fingerprint", flat=True).first()
        if key is not None:
            return key
        data = models.Data.objects.filter(task_id=task_id).first()
        if data is None:
            self.task(task_id)  # distinguishes an unknown task from a task without frames
        if data is None or not 0 <= number < data.size:
            raise FrameOutOfScope(f"frame {number} is not in task #{task_id}")
        return f"{data.fingerprint}:{data.start_frame + number * data.step}"

    def frames(
        self,
        task_id: int,
        numbers: Sequence[int],
        *,
        job_id: int | None = None,
        max_bmp_bytes: int = 0,
    ) -> Iterator[Frame | UnreadableFrame]:
        """Yield frames in ascending order; each video frame is decoded once."""
        return reader.read_frames(task_id, numbers, max_bmp_bytes=max_bmp_bytes)

    def annotations(
        self, task_id: int, *, job_id: int | None = None, frames: Collection[int] | None = None
    ) -> LabeledData:
        """Return annotations with ids, and the tracks that have a keyframe on any of the frames."""
        return reading.read(scope_of(task_id, job_id), frames)

    def tracks(
        self, task_id: int, *, job_id: int | None = None, frames: Collection[int] | None = None
    ) -> tuple[Track, ...]:
        """Return the tracks that have a keyframe on any of the frames, with ids."""
        return reading.read_tracks(scope_of(task_id, job_id), frames)

    def annotated_frames(self, task_id: int, *, job_id: int | None = None) -> set[int]:
        """Return the frames that have at least one shape, tag or visible track."""
        size = models.Data.objects.filter(task_id=task_id).values_list("size", flat=True).first()
        return reading.annotated_frames(scope_of(task_id, job_id), size or 0)

    def existing_ids(self, kind: AnnotationKind, ids: Collection[int]) -> set[int]:
        """Return the ids that exist."""
        return reading.existing_ids(kind, ids)

    def last_track_id(self, task_id: int) -> int:
        """Return the highest id of a task's tracks; 0 if it has none."""
        tracks = models.LabeledTrack.objects.filter(task_id=task_id)
        return tracks.aggregate(last=Max("pk"))["last"] or 0

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
        """Lock the task until the transaction ends; return its annotations with these ids.

        Raise TaskNotFound.
        """
        writing.hold(task_id)
        return reading.read_ids(task_id, shape_ids=shape_ids, tag_ids=tag_ids, track_ids=track_ids)

    def apply(self, change: Change) -> Written:
        """Carry out a change inside `atomic`. Raise InvalidRequest, TaskNotFound, JobNotFound."""
        return writing.apply(change)


def _task(facts: Mapping[str, Any], labels: tuple[Label, ...], jobs: Sequence[Job]) -> Task:
    return Task(
        id=facts["pk"],
        name=facts["name"],
        size=facts["data__size"] or 0,
        project_id=facts["project_id"],
        labels=labels,
        deleted_frames=frozenset(facts["data__deleted_frames"] or ()),
        stores_shared_frames_once=True,
        jobs=tuple(jobs),
    )


def _jobs(rows: QuerySet[models.Job]) -> Iterator[tuple[int, Job]]:
    """Return jobs with the ids of their tasks, in the order of their frames."""
    ordered = rows.order_by("segment__start_frame", "pk").values_list(*_JOB_FACTS)
    for task_id, job_id, kind, start, stop, frames in ordered:
        chosen = range(start, stop + 1) if frames is None else tuple(frames)
        yield task_id, Job(id=job_id, task_id=task_id, type=kind, frames=chosen)
