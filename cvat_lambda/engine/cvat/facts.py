"""What CVAT's rows say of tasks, jobs and labels, as the port's frozen data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cvat.apps.engine import models
from django.db.models import Q

from cvat_lambda.annotations.types import Attribute, Label
from cvat_lambda.engine.cvat.compat import job_type
from cvat_lambda.engine.port import Job, Task
from cvat_lambda.errors import JobNotFound, NotFound, TaskNotFound

# Django spends more time on a query's columns than PostgreSQL does on its rows.
_DATA_COLUMNS: Final = (
    "size",
    "start_frame",
    "stop_frame",
    "frame_filter",
    "chunk_size",
    "original_chunk_type",
    "storage",
    "deleted_frames",
)
_JOB_COLUMNS: Final = (
    "pk",
    "type",
    "segment__task_id",
    "segment__task__organization_id",
    "segment__type",
    "segment__start_frame",
    "segment__stop_frame",
    "segment__frames",
)
_SPEC_COLUMNS: Final = ("pk", "name", "input_type", "mutable", "default_value", "values")


@dataclass(frozen=True, slots=True)
class _JobRow:
    """A job with its segment, in the order of `_JOB_COLUMNS`."""

    id: int
    kind: str
    task_id: int
    organization_id: int | None
    segment_type: str
    first: int  # relative to the task
    last: int
    chosen: Sequence[int]  # absolute numbers of a segment that is no whole range

    def frames(self, data: Any) -> Sequence[int]:
        """Relative to the task, ascending."""
        if str(self.segment_type) == str(models.SegmentType.RANGE):
            return range(self.first, self.last + 1)
        step = data.get_frame_step()
        return sorted((frame - data.start_frame) // step for frame in self.chosen)


def read_task(task_id: int) -> Task:
    """Raise TaskNotFound."""
    for task in read_tasks([task_id]).values():
        return task
    raise TaskNotFound(f"task #{task_id} was not found")


def read_tasks(task_ids: Collection[int]) -> dict[int, Task]:
    """Those that exist, by id: a handful of queries, however many they are."""
    rows = _task_rows(task_ids)
    jobs: dict[int, list[_JobRow]] = defaultdict(list)
    for job in _jobs(segment__task_id__in=[row.pk for row in rows]):
        jobs[job.task_id].append(job)
    labels = _Labels(rows)
    placeholders = _placeholders([row.data for row in rows])
    return {
        row.pk: _task(row, jobs[row.pk], labels.of(row), placeholders.get(row.data_id))
        for row in rows
    }


def all_task_ids() -> Any:
    """A subquery of the ids of all tasks."""
    return models.Task.objects.values("pk")


def read_job(job_id: int) -> Job:
    """Raise JobNotFound."""
    for job in read_jobs([job_id]).values():
        return job
    raise JobNotFound(f"job #{job_id} was not found")


def read_jobs(job_ids: Collection[int]) -> dict[int, Job]:
    """Those that exist, by id: two queries, however many they are."""
    rows = _jobs(pk__in=list(job_ids))
    data = {row.pk: row.data for row in _task_rows({row.task_id for row in rows})}
    return {row.id: _job(row, data.get(row.task_id)) for row in rows}


def data_of(task_id: int) -> Any:
    """What a task's frames are, in as few columns as do; None: not uploaded yet."""
    return models.Data.objects.only(*_DATA_COLUMNS).filter(task=task_id).first()


def jobs_in(task_id: int) -> list[Job]:
    """A task's jobs, in order. Raise TaskNotFound."""
    data = data_of(task_id)
    if data is None and not models.Task.objects.filter(pk=task_id).exists():
        raise TaskNotFound(f"task #{task_id} was not found")
    return [_job(row, data) for row in _jobs(segment__task_id=task_id)]


def has_honeypots(task_id: int) -> bool:
    """Whether a task's jobs hold hidden copies of the frames of its ground-truth job."""
    layouts = models.ValidationLayout.objects.filter(task_data__task=task_id)
    return bool(layouts.filter(mode=str(models.ValidationMode.GT_POOL)).exists())


def project_task_ids(project_id: int) -> list[int]:
    """Raise NotFound."""
    if not models.Project.objects.filter(pk=project_id).exists():
        raise NotFound(f"project #{project_id} was not found")
    tasks = models.Task.objects.filter(project_id=project_id).order_by("pk")
    return list(tasks.values_list("pk", flat=True))


def _is_honeypot_data(data: Any) -> bool:
    return data is not None and data.validation_mode == models.ValidationMode.GT_POOL


def _task_rows(task_ids: Collection[int]) -> list[Any]:
    columns = ("name", "dimension", "project_id", "organization_id", "data_id")
    rows = models.Task.objects.select_related("data__validation_layout")
    found = rows.only(*columns, *(f"data__{column}" for column in _DATA_COLUMNS))
    return list(found.filter(pk__in=list(task_ids)))


def _task(row: Any, jobs: Sequence[_JobRow], labels: tuple[Label, ...], placeholders: Any) -> Task:
    data = row.data
    made = [_job(job, data) for job in jobs]
    return Task(
        id=row.pk,
        name=row.name,
        size=data.size if data is not None else 0,
        dimension="3d" if row.dimension == models.DimensionType.DIM_3D else "2d",
        project_id=row.project_id,
        organization_id=row.organization_id,
        labels=labels,
        deleted_frames=frozenset(data.deleted_frames) if data is not None else frozenset(),
        placeholder_frames=frozenset(placeholders or ()),
        validation_frames=_pool_frames(data, made),
        jobs=tuple(made),
    )


def _jobs(**condition: Any) -> list[_JobRow]:
    rows = models.Job.objects.filter(**condition).order_by("segment__start_frame", "pk")
    return [_JobRow(*values) for values in rows.values_list(*_JOB_COLUMNS)]


def _job(row: _JobRow, data: Any) -> Job:
    kind = job_type(row.kind)
    frames = row.frames(data)
    if kind == "ground_truth":
        frames = _without(frames, _disabled(data))
    return Job(
        id=row.id,
        task_id=row.task_id,
        type=kind,
        frames=frames,
        organization_id=row.organization_id,
    )


def _disabled(data: Any) -> frozenset[int]:
    """Validation frames that somebody took out; CVAT does not count them as deleted frames."""
    layout = getattr(data, "validation_layout", None)
    return frozenset(layout.disabled_frames) if layout is not None else frozenset()


def _without(frames: Sequence[int], excluded: frozenset[int]) -> Sequence[int]:
    return [frame for frame in frames if frame not in excluded] if excluded else frames


def _placeholders(media: Iterable[Any]) -> dict[int, list[int]]:
    """Hidden copies of validation frames, in relative numbers, by the id of their data."""
    honeypots = {data.pk: data for data in media if _is_honeypot_data(data)}
    if not honeypots:
        return {}
    found: dict[int, list[int]] = defaultdict(list)
    images = models.Image.objects.filter(data_id__in=list(honeypots), is_placeholder=True)
    for data_id, frame in images.values_list("data_id", "frame"):
        data = honeypots[data_id]
        found[data_id].append((frame - data.start_frame) // data.get_frame_step())
    return found


def _pool_frames(data: Any, jobs: Iterable[Job]) -> frozenset[int]:
    if not _is_honeypot_data(data):
        return frozenset()
    return frozenset(frame for job in jobs if job.type == "ground_truth" for frame in job.frames)


# Labels


class _Labels:
    """The label trees of tasks, or of their projects: two queries for all of them."""

    def __init__(self, tasks: Iterable[Any]) -> None:
        rows = list(tasks)
        own = [row.pk for row in rows if row.project_id is None]
        projects = {row.project_id for row in rows} - {None}
        labels = (
            models.Label.objects.filter(Q(task_id__in=own) | Q(project_id__in=projects))
            .order_by("pk")
            .values_list(
                "task_id", "project_id", "pk", "parent_id", "name", "type", "color", "skeleton__svg"
            )
        )
        specs = models.AttributeSpec.objects.filter(
            Q(label__task_id__in=own) | Q(label__project_id__in=projects)
        )
        attributes: dict[int, list[Attribute]] = defaultdict(list)
        for label_id, *values in specs.order_by("pk").values_list("label_id", *_SPEC_COLUMNS):
            attributes[label_id].append(_attribute(*values))
        children: dict[int, list[Label]] = defaultdict(list)
        self._top: dict[Any, list[Label]] = defaultdict(list)
        # A child was made after its parent; from the end, children are ready before their parent.
        for task_id, project_id, pk, parent_id, name, kind, color, svg in reversed(list(labels)):
            label = Label(
                id=pk,
                name=name,
                type=str(kind),  # type: ignore[arg-type]  # CVAT's words are the port's
                color=color,
                svg=svg or "",
                attributes=tuple(attributes[pk]),
                sublabels=tuple(reversed(children[pk])),
            )
            if parent_id is None:
                self._top[task_id, project_id].append(label)
            else:
                children[parent_id].append(label)

    def of(self, task: Any) -> tuple[Label, ...]:
        """The tree of a task."""
        owner = (task.pk if task.project_id is None else None, task.project_id)
        return tuple(reversed(self._top.get(owner, [])))


def _attribute(
    pk: int, name: str, input_type: str, mutable: bool, default: str, values: str
) -> Attribute:
    return Attribute(
        id=pk,
        name=name,
        input_type=str(input_type),  # type: ignore[arg-type]
        mutable=mutable,
        default=default,
        values=tuple(values.split("\n")) if values else (),
    )
