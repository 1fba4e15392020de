"""Read tasks, jobs and labels from CVAT's tables as the port's data."""

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
from cvat_lambda.errors import JobNotFound, ProjectNotFound, TaskNotFound
from cvat_lambda.prepared import PreparedQuery

DATA_COLUMNS: Final = (
    "size",
    "start_frame",
    "stop_frame",
    "frame_filter",
    "chunk_size",
    "original_chunk_type",
    "storage",
    "deleted_frames",
    "validation_layout__mode",
    "validation_layout__disabled_frames",
)
_TASK_COLUMNS: Final = ("name", "dimension", "project", "organization", "data")
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
_LABEL_COLUMNS: Final = (
    "task_id",
    "project_id",
    "pk",
    "parent_id",
    "name",
    "type",
    "color",
    "skeleton__svg",
)
_SPEC_COLUMNS: Final = (
    "label_id",
    "pk",
    "name",
    "input_type",
    "mutable",
    "default_value",
    "values",
)


def _label_owners(prefix: str, task_ids: list[int], project_ids: list[int]) -> Q:
    return Q(**{f"{prefix}task_id__in": task_ids}) | Q(**{f"{prefix}project_id__in": project_ids})


_TASKS: Final[PreparedQuery[Any]] = PreparedQuery(
    lambda ids: (
        models.Task.objects.filter(pk__in=ids)
        .select_related("data__validation_layout")
        .only(*_TASK_COLUMNS, *(f"data__{name}" for name in DATA_COLUMNS))
        .order_by()
    ),
    list,
)
_DATA: Final[PreparedQuery[Any]] = PreparedQuery(
    lambda task_id: (
        models.Data.objects.filter(task=task_id)
        .select_related("validation_layout")
        .only(*DATA_COLUMNS)
        .order_by()
    ),
    int,
)
_JOBS: Final[PreparedQuery[tuple[Any, ...]]] = PreparedQuery(
    lambda ids: (
        models.Job.objects.filter(pk__in=ids)
        .order_by("segment__start_frame", "pk")
        .values_list(*_JOB_COLUMNS)
    ),
    list,
)
_JOBS_OF_TASKS: Final[PreparedQuery[tuple[Any, ...]]] = PreparedQuery(
    lambda task_ids: (
        models.Job.objects.filter(segment__task_id__in=task_ids)
        .order_by("segment__start_frame", "pk")
        .values_list(*_JOB_COLUMNS)
    ),
    list,
)
_LABELS: Final[PreparedQuery[tuple[Any, ...]]] = PreparedQuery(
    lambda task_ids, project_ids: (
        models.Label.objects.filter(_label_owners("", task_ids, project_ids))
        .order_by("pk")
        .values_list(*_LABEL_COLUMNS)
    ),
    list,
    list,
)
_SPECS: Final[PreparedQuery[tuple[Any, ...]]] = PreparedQuery(
    lambda task_ids, project_ids: (
        models.AttributeSpec.objects.filter(_label_owners("label__", task_ids, project_ids))
        .order_by("pk")
        .values_list(*_SPEC_COLUMNS)
    ),
    list,
    list,
)


@dataclass(frozen=True, slots=True)
class _JobRow:
    """A job and its segment, in the order of `_JOB_COLUMNS`."""

    id: int
    kind: str
    task_id: int
    organization_id: int | None
    segment_type: str
    first: int  # relative to the task
    last: int
    chosen: Iterable[int]  # absolute numbers, of a segment of chosen frames

    def frames(self, data: Any) -> Sequence[int]:
        """Frame numbers relative to the task, ascending."""
        if str(self.segment_type) == str(models.SegmentType.RANGE):
            return range(self.first, self.last + 1)
        step = data.get_frame_step()
        return sorted((frame - data.start_frame) // step for frame in self.chosen)


def read_task(task_id: int) -> Task:
    """Return a task. Raise TaskNotFound."""
    for task in read_tasks([task_id]).values():
        return task
    raise TaskNotFound(f"task #{task_id} was not found")


def read_tasks(task_ids: Collection[int]) -> dict[int, Task]:
    """Return the tasks that exist, by id. The number of queries is constant."""
    rows = _TASKS.rows(list(task_ids))
    jobs: dict[int, list[_JobRow]] = defaultdict(list)
    for values in _JOBS_OF_TASKS.rows([row.id for row in rows]):
        job = _JobRow(*values)
        jobs[job.task_id].append(job)
    labels = _Labels(rows)
    return {row.id: _task(row, jobs[row.id], labels.of(row)) for row in rows}


def all_task_ids() -> Any:
    """Return a subquery of the ids of all tasks."""
    return models.Task.objects.values("pk")


def read_job(job_id: int) -> Job:
    """Return a job. Raise JobNotFound."""
    for job in read_jobs([job_id]).values():
        return job
    raise JobNotFound(f"job #{job_id} was not found")


def read_jobs(job_ids: Collection[int]) -> dict[int, Job]:
    """Return the jobs that exist by id, with two queries."""
    rows = [_JobRow(*values) for values in _JOBS.rows(list(job_ids))]
    tasks = _TASKS.rows(list({row.task_id for row in rows}))
    data = {task.pk: task.data for task in tasks}
    return {row.id: _job(row, data.get(row.task_id)) for row in rows}


def job_of(row: Any) -> Job:
    """Return a job from its row, which was read with its segment, task and data."""
    segment, task = row.segment, row.segment.task
    return _job(
        _JobRow(
            id=row.pk,
            kind=row.type,
            task_id=task.pk,
            organization_id=task.organization_id,
            segment_type=segment.type,
            first=segment.start_frame,
            last=segment.stop_frame,
            chosen=segment.frames,
        ),
        task.data,
    )


def data_of(task_id: int) -> Any:
    """Return the row of a task's data; None if nothing was uploaded yet."""
    return _DATA.first(task_id)


def annotated_jobs(task_id: int) -> list[Job]:
    """Return the jobs whose annotations together are the task's, in order. Raise TaskNotFound.

    These are the annotation jobs. In a task with honeypots CVAT adds the ground-truth job.
    """
    data = data_of(task_id)
    if data is None and not models.Task.objects.filter(pk=task_id).exists():
        raise TaskNotFound(f"task #{task_id} was not found")
    wanted = {"annotation", "ground_truth"} if _is_honeypot_data(data) else {"annotation"}
    jobs = [_job(_JobRow(*values), data) for values in _JOBS_OF_TASKS.rows([task_id])]
    return [job for job in jobs if job.type in wanted]


def project_task_ids(project_id: int) -> list[int]:
    """Return the ids of a project's tasks. Raise ProjectNotFound."""
    if not models.Project.objects.filter(pk=project_id).exists():
        raise ProjectNotFound(f"project #{project_id} was not found")
    tasks = models.Task.objects.filter(project_id=project_id).order_by("pk")
    return list(tasks.values_list("pk", flat=True))


def _is_honeypot_data(data: Any) -> bool:
    return data is not None and data.validation_mode == models.ValidationMode.GT_POOL


def _task(
    row: Any,
    jobs: Sequence[_JobRow],
    labels: tuple[Label, ...],
) -> Task:
    data = row.data
    made = [_job(job, data) for job in jobs]
    return Task(
        id=row.id,
        name=row.name,
        size=data.size if data is not None else 0,
        dimension="3d" if row.dimension == models.DimensionType.DIM_3D else "2d",
        project_id=row.project_id,
        organization_id=row.organization_id,
        labels=labels,
        deleted_frames=frozenset(data.deleted_frames if data is not None else ()),
        validation_frames=_pool_frames(data, made),
        takes_tracks=not _is_honeypot_data(data),
        jobs=tuple(made),
    )


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
    """Validation frames that were disabled. CVAT does not list them as deleted frames."""
    layout = getattr(data, "validation_layout", None)
    return frozenset(layout.disabled_frames) if layout is not None else frozenset()


def _without(frames: Sequence[int], excluded: frozenset[int]) -> Sequence[int]:
    return [frame for frame in frames if frame not in excluded] if excluded else frames


def _pool_frames(data: Any, jobs: Iterable[Job]) -> frozenset[int]:
    if not _is_honeypot_data(data):
        return frozenset()
    return frozenset(frame for job in jobs if job.type == "ground_truth" for frame in job.frames)


# Labels


class _Labels:
    """The label trees of tasks or of their projects, read with two queries."""

    def __init__(self, tasks: Collection[Any]) -> None:
        own = [row.id for row in tasks if row.project_id is None]
        projects = list({row.project_id for row in tasks if row.project_id is not None})
        labels = _LABELS.rows(own, projects)
        attributes: dict[int, list[Attribute]] = defaultdict(list)
        for label_id, *values in _SPECS.rows(own, projects):
            attributes[label_id].append(_attribute(*values))
        children: dict[int, list[Label]] = defaultdict(list)
        self._top: dict[Any, list[Label]] = defaultdict(list)
        # A child has a higher id than its parent, so in reverse order children come first.
        for task_id, project_id, pk, parent_id, name, kind, color, svg in reversed(labels):
            label = Label(
                id=pk,
                name=name,
                type=str(kind),  # type: ignore[arg-type]  # CVAT and the port use the same names
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
        """Return the labels of a task."""
        owner = (task.id if task.project_id is None else None, task.project_id)
        return tuple(reversed(self._top.get(owner, [])))


def attribute_ids_by_label(task_id: int, project_id: int | None) -> dict[int, set[int]]:
    """Return the ids of attributes by the id of their label, for all labels of a task."""
    owners = ([task_id], []) if project_id is None else ([], [project_id])
    known: dict[int, set[int]] = {pk: set() for _, _, pk, *_ in _LABELS.rows(*owners)}
    for label_id, spec_id, *_ in _SPECS.rows(*owners):
        known[label_id].add(spec_id)
    return known


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
