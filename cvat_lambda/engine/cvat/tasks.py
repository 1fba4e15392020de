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
from cvat_lambda.engine.cvat.prepared_query import PreparedQuery, model_from_row
from cvat_lambda.engine.port import Job, Task
from cvat_lambda.errors import JobNotFound, NotFound, TaskNotFound

_DATA_COLUMNS: Final = (
    "id",
    "size",
    "start_frame",
    "stop_frame",
    "frame_filter",
    "chunk_size",
    "original_chunk_type",
    "storage",
    "deleted_frames",
)
_LAYOUT_COLUMNS: Final = ("id", "mode", "disabled_frames")
_TASK_COLUMNS: Final = ("pk", "name", "dimension", "project_id", "organization_id")
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


def _with_layout(prefix: str = "") -> list[str]:
    layout = [f"{prefix}validation_layout__{column}" for column in _LAYOUT_COLUMNS]
    return [*(f"{prefix}{column}" for column in _DATA_COLUMNS), *layout]


def _label_owners(prefix: str, task_id: int, project_id: int) -> Q:
    return Q(**{f"{prefix}task_id__in": [task_id]}) | Q(**{f"{prefix}project_id__in": [project_id]})


# Each query takes lists of ids.
_TASKS: Final = PreparedQuery(
    lambda pk: models.Task.objects.filter(pk__in=[pk]).values_list(
        *_TASK_COLUMNS, *_with_layout("data__")
    )
)
_DATA: Final = PreparedQuery(
    lambda task_id: models.Data.objects.filter(task__in=[task_id]).values_list(*_with_layout())
)
_JOBS: Final = PreparedQuery(
    lambda pk: (
        models.Job.objects.filter(pk__in=[pk])
        .order_by("segment__start_frame", "pk")
        .values_list(*_JOB_COLUMNS)
    )
)
_JOBS_OF_TASKS: Final = PreparedQuery(
    lambda task_id: (
        models.Job.objects.filter(segment__task_id__in=[task_id])
        .order_by("segment__start_frame", "pk")
        .values_list(*_JOB_COLUMNS)
    )
)
_LABELS: Final = PreparedQuery(
    lambda task_id, project_id: (
        models.Label.objects.filter(_label_owners("", task_id, project_id))
        .order_by("pk")
        .values_list(*_LABEL_COLUMNS)
    )
)
_SPECS: Final = PreparedQuery(
    lambda task_id, project_id: (
        models.AttributeSpec.objects.filter(_label_owners("label__", task_id, project_id))
        .order_by("pk")
        .values_list(*_SPEC_COLUMNS)
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _TaskRow:
    """A task and the row of its data."""

    id: int
    name: str
    dimension: str
    project_id: int | None
    organization_id: int | None
    data: Any  # None: nothing was uploaded yet


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
    chosen: str  # absolute numbers, separated by commas, of a segment of chosen frames

    def frames(self, data: Any) -> Sequence[int]:
        """Frame numbers relative to the task, ascending."""
        if str(self.segment_type) == str(models.SegmentType.RANGE):
            return range(self.first, self.last + 1)
        step = data.get_frame_step()
        chosen = map(int, self.chosen.split(",")) if self.chosen else ()
        return sorted((frame - data.start_frame) // step for frame in chosen)


def read_task(task_id: int) -> Task:
    """Return a task. Raise TaskNotFound."""
    for task in read_tasks([task_id]).values():
        return task
    raise TaskNotFound(f"task #{task_id} was not found")


def read_tasks(task_ids: Collection[int]) -> dict[int, Task]:
    """Return the tasks that exist, by id. The number of queries is constant."""
    rows = _task_rows(task_ids)
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
    data = {row.id: row.data for row in _task_rows({row.task_id for row in rows})}
    return {row.id: _job(row, data.get(row.task_id)) for row in rows}


def data_of(task_id: int) -> Any:
    """Return the row of a task's data; None if nothing was uploaded yet."""
    row = _DATA.first([task_id])
    return None if row is None else _data(row)


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
    """Return the ids of a project's tasks. Raise NotFound."""
    if not models.Project.objects.filter(pk=project_id).exists():
        raise NotFound(f"project #{project_id} was not found")
    tasks = models.Task.objects.filter(project_id=project_id).order_by("pk")
    return list(tasks.values_list("pk", flat=True))


def _is_honeypot_data(data: Any) -> bool:
    return data is not None and data.validation_mode == models.ValidationMode.GT_POOL


def _task_rows(task_ids: Collection[int]) -> list[_TaskRow]:
    return [
        _TaskRow(
            id=pk,
            name=name,
            dimension=dimension,
            project_id=project_id,
            organization_id=organization_id,
            data=_data(columns),
        )
        for pk, name, dimension, project_id, organization_id, *columns in _TASKS.rows(
            list(task_ids)
        )
    ]


def _data(values: Sequence[Any]) -> Any:
    """Return the row of a task's data with its validation layout; None if the task has no data."""
    split = len(_DATA_COLUMNS)
    if values[0] is None:
        return None
    data = model_from_row(models.Data, _DATA_COLUMNS, values[:split])
    layout = values[split:]
    # Django reads the layout from here instead of the database.
    data._state.fields_cache["validation_layout"] = (
        None
        if layout[0] is None
        else model_from_row(models.ValidationLayout, _LAYOUT_COLUMNS, layout)
    )
    return data


def _task(
    row: _TaskRow,
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

    def __init__(self, tasks: Collection[_TaskRow]) -> None:
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

    def of(self, task: _TaskRow) -> tuple[Label, ...]:
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
