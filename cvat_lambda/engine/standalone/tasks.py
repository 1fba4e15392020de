"""Creates and deletes tasks: labels, frames and jobs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils import timezone

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.labels import LabelSpec, check_names, save_labels, to_label
from cvat_lambda.engine.standalone.media.files import SourceFile
from cvat_lambda.engine.standalone.media.ingest import Ingestion, PreparedFrames, Selection, prepare
from cvat_lambda.engine.standalone.writing import delete_annotations, lock
from cvat_lambda.errors import InvalidRequest, StateConflict

File = str | os.PathLike[str] | SourceFile

DEFAULT_VIDEO_OVERLAP = 5  # frames

# A Python caller lists files in the intended order.
_AS_LISTED = Ingestion(selection=Selection(sorting_method="predefined"))


def create_task(
    owner: Any,
    name: str,
    labels: Iterable[LabelSpec] = (),
    files: Iterable[File] = (),
    *,
    segment_size: int = 0,
    overlap: int | None = None,
    assignee: Any = None,
    project: models.Project | None = None,
    subset: str = "",
    bug_tracker: str = "",
    ingestion: Ingestion = _AS_LISTED,
) -> models.Task:
    """Create a task, with frames if files are given: images, zip archives of images, or one video.

    The files are copied and keep their order unless ``ingestion`` says otherwise. If a label or a
    file is invalid, nothing is created. Raise InvalidRequest.
    """
    parsed = [to_label(label) for label in labels]
    check_names(parsed)
    if project is not None and parsed:
        raise InvalidRequest("a task in a project has the project's labels, not its own")
    with transaction.atomic():
        task = models.Task.objects.create(
            name=name,
            owner=owner,
            assignee=assignee,
            project=project,
            subset=subset,
            bug_tracker=bug_tracker,
            segment_size=segment_size,
            overlap=overlap,
        )
        save_labels(parsed, task=task)
    sources = [_source(file) for file in files]
    if sources:
        try:
            add_frames(task, sources, ingestion)
        except BaseException:
            task.delete()
            raise
    return task


def create_project(
    owner: Any,
    name: str,
    labels: Iterable[LabelSpec] = (),
    *,
    assignee: Any = None,
    bug_tracker: str = "",
) -> models.Project:
    """Create a project with its labels. Raise InvalidRequest."""
    parsed = [to_label(label) for label in labels]
    check_names(parsed)
    with transaction.atomic():
        project = models.Project.objects.create(
            name=name, owner=owner, assignee=assignee, bug_tracker=bug_tracker
        )
        save_labels(parsed, project=project)
    return project


def _source(file: File) -> SourceFile:
    if isinstance(file, SourceFile):
        return file
    path = Path(file)
    return SourceFile(path=path, name=path.name)


def add_frames(
    task: models.Task, files: Sequence[SourceFile], ingestion: Ingestion = _AS_LISTED
) -> PreparedFrames:
    """Add frames and jobs to a task. Raise InvalidRequest; StateConflict if the task has frames."""
    if models.Data.objects.filter(task=task).exists():
        raise StateConflict(f"task #{task.pk} already has frames")
    prepared = prepare(task, files, ingestion)
    try:
        if task.overlap is None:
            task.overlap = _default_overlap(prepared.data, task.segment_size)
        with transaction.atomic():
            models.Task.objects.filter(pk=task.pk).update(
                updated_at=timezone.now(), overlap=task.overlap
            )
            prepared.save()
            _create_jobs(task, prepared.data.size)
    except BaseException:
        prepared.discard()
        raise
    return prepared


def _default_overlap(data: models.Data, segment_size: int) -> int:
    """Return the frames that neighbouring jobs share by default: five of a video, as in CVAT."""
    if data.kind != models.DataKind.VIDEO or not 0 < segment_size < data.size:
        return 0
    return min(DEFAULT_VIDEO_OVERLAP, segment_size // 2)


def segment_ranges(size: int, segment_size: int, overlap: int) -> list[tuple[int, int]]:
    """Return the first and last frame of each job of ``segment_size`` frames, ``overlap`` shared.

    ``segment_size`` 0 makes one job. Raise InvalidRequest if the overlap is too large.
    """
    if segment_size <= 0 or segment_size >= size:
        return [(0, size - 1)]
    if overlap >= segment_size:
        raise InvalidRequest(f"overlap {overlap} must be less than segment_size {segment_size}")
    ranges = []
    for start in range(0, size, segment_size - overlap):
        stop = min(start + segment_size, size) - 1
        ranges.append((start, stop))
        if stop == size - 1:
            break
    return ranges


def _create_jobs(task: models.Task, size: int) -> None:
    segments = models.Segment.objects.bulk_create(
        [
            models.Segment(task=task, start_frame=start, stop_frame=stop)
            for start, stop in segment_ranges(size, task.segment_size, task.overlap or 0)
        ]
    )
    models.Job.objects.bulk_create([models.Job(segment=segment) for segment in segments])


@transaction.atomic
def delete_task(task: models.Task) -> None:
    """Delete a task with its data. Wait for changes in progress; later changes fail.

    Raise TaskNotFound.
    """
    lock(task.pk)
    delete_annotations(task.pk)
    task.delete()


@transaction.atomic
def delete_project(project: models.Project) -> None:
    """Delete a project and its tasks as `delete_task` does."""
    tasks = models.Task.objects.select_for_update().filter(project=project).order_by("pk")
    for task_id in list(tasks.values_list("pk", flat=True)):
        delete_annotations(task_id)
    project.delete()


def create_ground_truth_job(task: models.Task, frames: Iterable[int]) -> models.Job:
    """Create a ground-truth job, which has private annotations.

    Raise InvalidRequest for a frame outside the task, StateConflict if the task has such a job.
    """
    data = models.Data.objects.filter(task=task).first()
    if data is None:
        raise StateConflict(f"task #{task.pk} has no frames yet")
    numbers = sorted(set(frames))
    if not numbers or numbers[0] < 0 or numbers[-1] >= data.size:
        raise InvalidRequest(f"frames must be some of 0 .. {data.size - 1}")
    ground_truth = models.JobType.GROUND_TRUTH
    if models.Job.objects.filter(segment__task=task, type=ground_truth).exists():
        raise StateConflict(f"task #{task.pk} has a ground-truth job already")
    with transaction.atomic():
        segment = models.Segment.objects.create(
            task=task, start_frame=0, stop_frame=data.size - 1, frames=numbers
        )
        return models.Job.objects.create(segment=segment, type=ground_truth)
