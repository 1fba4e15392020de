"""What CVAT's rows say of tasks, jobs and labels, as the port's frozen data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cvat.apps.engine import models

from cvat_lambda.annotations.types import Attribute, Label
from cvat_lambda.engine.cvat.compat import job_type
from cvat_lambda.engine.cvat.prepared import Prepared, built
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
_LABEL_COLUMNS: Final = ("pk", "parent_id", "name", "type", "color", "skeleton__svg")
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


_TASK: Final = Prepared(
    lambda pk: models.Task.objects.filter(pk=pk).values_list(
        *_TASK_COLUMNS, *_with_layout("data__")
    )
)
_DATA: Final = Prepared(
    lambda task_id: models.Data.objects.filter(task=task_id).values_list(*_with_layout())
)
_JOB: Final = Prepared(lambda pk: models.Job.objects.filter(pk=pk).values_list(*_JOB_COLUMNS))
_JOBS: Final = Prepared(
    lambda task_id: (
        models.Job.objects.filter(segment__task_id=task_id)
        .order_by("segment__start_frame", "pk")
        .values_list(*_JOB_COLUMNS)
    )
)
_LABELS: Final = {
    key: Prepared(
        lambda pk, key=key: (
            models.Label.objects.filter(**{key: pk}).order_by("pk").values_list(*_LABEL_COLUMNS)
        )
    )
    for key in ("task_id", "project_id")
}
_SPECS: Final = {
    key: Prepared(
        lambda pk, key=key: (
            models.AttributeSpec.objects.filter(**{f"label__{key}": pk})
            .order_by("pk")
            .values_list(*_SPEC_COLUMNS)
        )
    )
    for key in ("task_id", "project_id")
}


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
    chosen: str  # absolute numbers of a segment that is no whole range, with commas

    def frames(self, data: Any) -> Sequence[int]:
        """Relative to the task, ascending."""
        if str(self.segment_type) == str(models.SegmentType.RANGE):
            return range(self.first, self.last + 1)
        step = data.get_frame_step()
        chosen = map(int, self.chosen.split(",")) if self.chosen else ()
        return sorted((frame - data.start_frame) // step for frame in chosen)


def read_task(task_id: int) -> Task:
    """Raise TaskNotFound."""
    row = _TASK.first(task_id)
    if row is None:
        raise TaskNotFound(f"task #{task_id} was not found")
    pk, name, dimension, project_id, organization_id, *columns = row
    data = _data(columns)
    jobs = _jobs_with(data, task_id)
    return Task(
        id=pk,
        name=name,
        size=data.size if data is not None else 0,
        dimension="3d" if dimension == models.DimensionType.DIM_3D else "2d",
        project_id=project_id,
        organization_id=organization_id,
        labels=_labels(task_id, project_id),
        deleted_frames=frozenset(data.deleted_frames) if data is not None else frozenset(),
        placeholder_frames=_placeholders(data),
        validation_frames=_pool_frames(data, jobs),
        jobs=tuple(jobs),
    )


def read_job(job_id: int) -> Job:
    """Raise JobNotFound."""
    for values in _JOB.rows(job_id):
        row = _JobRow(*values)
        return _job(row, data_of(row.task_id))
    raise JobNotFound(f"job #{job_id} was not found")


def data_of(task_id: int) -> Any:
    """What a task's frames are, in as few columns as do; None: not uploaded yet."""
    row = _DATA.first(task_id)
    return None if row is None else _data(row)


def annotated_jobs(task_id: int) -> list[Job]:
    """The jobs whose annotations together are the task's, in order. Raise TaskNotFound.

    These are the annotation jobs, and with honeypots (hidden copies of the frames of the
    ground-truth job) that job too, as in CVAT's own annotations of a task.
    """
    data = data_of(task_id)
    if data is None and not models.Task.objects.filter(pk=task_id).exists():
        raise TaskNotFound(f"task #{task_id} was not found")
    wanted = {"annotation", "ground_truth"} if _is_honeypot_data(data) else {"annotation"}
    return [job for job in _jobs_with(data, task_id) if job.type in wanted]


def project_task_ids(project_id: int) -> list[int]:
    """Raise NotFound."""
    if not models.Project.objects.filter(pk=project_id).exists():
        raise NotFound(f"project #{project_id} was not found")
    tasks = models.Task.objects.filter(project_id=project_id).order_by("pk")
    return list(tasks.values_list("pk", flat=True))


def _is_honeypot_data(data: Any) -> bool:
    return data is not None and data.validation_mode == models.ValidationMode.GT_POOL


def _data(values: Sequence[Any]) -> Any:
    """CVAT's row of a task's data, which knows its validation layout; None where it has none."""
    split = len(_DATA_COLUMNS)
    if values[0] is None:
        return None
    data = built(models.Data, _DATA_COLUMNS, values[:split])
    layout = values[split:]
    # So that nobody asks for it again.
    data._state.fields_cache["validation_layout"] = (
        None if layout[0] is None else built(models.ValidationLayout, _LAYOUT_COLUMNS, layout)
    )
    return data


def _jobs_with(data: Any, task_id: int) -> list[Job]:
    return [_job(_JobRow(*values), data) for values in _JOBS.rows(task_id)]


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


def _placeholders(data: Any) -> frozenset[int]:
    if not _is_honeypot_data(data):
        return frozenset()
    step = data.get_frame_step()
    frames = data.images.filter(is_placeholder=True).values_list("frame", flat=True)
    return frozenset((frame - data.start_frame) // step for frame in frames)


def _pool_frames(data: Any, jobs: Iterable[Job]) -> frozenset[int]:
    if not _is_honeypot_data(data):
        return frozenset()
    return frozenset(frame for job in jobs if job.type == "ground_truth" for frame in job.frames)


# Labels


def _labels(task_id: int, project_id: int | None) -> tuple[Label, ...]:
    """The label tree of a task, or of its project: two queries."""
    key, pk = ("task_id", task_id) if project_id is None else ("project_id", project_id)
    rows = _LABELS[key].rows(pk)
    attributes: dict[int, list[Attribute]] = defaultdict(list)
    for label_id, *values in _SPECS[key].rows(pk):
        attributes[label_id].append(_attribute(*values))
    children: dict[int | None, list[Label]] = defaultdict(list)
    # A child was made after its parent; from the end, children are ready before their parent.
    for pk, parent_id, name, kind, color, svg in reversed(rows):
        label = Label(
            id=pk,
            name=name,
            type=str(kind),  # type: ignore[arg-type]  # CVAT's words are the port's
            color=color,
            svg=svg or "",
            attributes=tuple(attributes[pk]),
            sublabels=tuple(reversed(children[pk])),
        )
        children[parent_id].append(label)
    return tuple(reversed(children[None]))


def specs_of_labels(task_id: int, project_id: int | None) -> dict[int, set[int]]:
    """Ids of the attributes of each label that a task's annotations may have, by the label's id."""
    key, pk = ("task_id", task_id) if project_id is None else ("project_id", project_id)
    known: dict[int, set[int]] = {row[0]: set() for row in _LABELS[key].rows(pk)}
    for label_id, spec_id, *_ in _SPECS[key].rows(pk):
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
