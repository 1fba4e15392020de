"""Annotations out of CVAT's tables: a job's own, or a task's, in which overlaps count once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from cvat.apps.engine import models
from django.db.models import Prefetch, Q

from cvat_lambda.annotations.types import (
    AttributeValue,
    LabeledData,
    Shape,
    Tag,
    Track,
    TrackedShape,
)
from cvat_lambda.engine.cvat.compat import HAS_SCORE, HAS_TAG_SCORE
from cvat_lambda.engine.cvat.facts import annotated_jobs, read_job
from cvat_lambda.errors import JobNotFound

MANY = 1000  # ids or frames in one condition

Item = TypeVar("Item", Tag, Shape, Track)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobScope:
    """A job whose annotations belong to what is read or written."""

    id: int
    frames: range | frozenset[int]

    def holds(self, frame: int) -> bool:
        """Whether the job shows a frame."""
        return frame in self.frames


def jobs_of(task_id: int, job_id: int | None) -> list[JobScope]:
    """The one job, or those whose annotations together are the task's, in order.

    Raise TaskNotFound, JobNotFound.
    """
    if job_id is not None:
        job = read_job(job_id)
        if job.task_id != task_id:
            raise JobNotFound(f"job #{job_id} of task #{task_id} was not found")
        jobs = [job]
    else:
        jobs = annotated_jobs(task_id)
    return [JobScope(id=job.id, frames=_searchable(job.frames)) for job in jobs]


def _searchable(frames: Sequence[int]) -> range | frozenset[int]:
    return frames if isinstance(frames, range) else frozenset(frames)


def slices(items: Collection[int]) -> Iterator[list[int]]:
    """Pieces small enough for one condition."""
    ordered = list(items)
    for start in range(0, len(ordered), MANY):
        yield ordered[start : start + MANY]


def frame_conditions(frames: Collection[int] | None, name: str = "frame") -> Iterator[Q]:
    """Conditions that together select the frames."""
    if frames is None:
        yield Q()
    elif frames and _is_run(frames):
        yield Q(**{f"{name}__gte": min(frames), f"{name}__lte": max(frames)})
    else:
        for some in slices(frames):
            yield Q(**{f"{name}__in": some})


def _is_run(frames: Collection[int]) -> bool:
    """Whether no frame between the first and the last is left out.

    Django takes its time over a list; the frames of a batch nearly always are a run.
    """
    if isinstance(frames, range):
        return frames.step == 1
    return max(frames) - min(frames) + 1 == len(set(frames))


# Reading


def read(
    task_id: int, *, job_id: int | None = None, frames: Collection[int] | None = None
) -> LabeledData:
    """The annotations on these frames (all by default), with ids, in order of id.

    A track belongs to each frame that it has a key frame on, and is given whole. What overlapping
    jobs have alike is given once, as the first of them has it. Raise TaskNotFound, JobNotFound.
    """
    jobs = [job.id for job in jobs_of(task_id, job_id)]
    tags: list[Any] = []
    shapes: list[Any] = []
    for condition in frame_conditions(frames):
        here = condition & Q(job_id__in=jobs)
        tags += models.LabeledImage.objects.filter(here).prefetch_related("attributes")
        shapes += models.LabeledShape.objects.filter(here).prefetch_related("attributes")
    return LabeledData(
        tags=_once(jobs, ((row.job_id, _tag(row)) for row in sorted(tags, key=_id))),
        shapes=_once(jobs, _shapes(sorted(shapes, key=_id))),
        tracks=_read_tracks(jobs, frames),
    )


def read_tracks(
    task_id: int, *, job_id: int | None = None, frames: Collection[int] | None = None
) -> tuple[Track, ...]:
    """The tracks of `read` alone. Raise TaskNotFound, JobNotFound."""
    return _read_tracks([job.id for job in jobs_of(task_id, job_id)], frames)


def _read_tracks(jobs: Sequence[int], frames: Collection[int] | None) -> tuple[Track, ...]:
    rows = _track_rows(jobs, frames)
    return _once(jobs, _tracks(sorted(rows, key=_id)))


def annotated_frames(task_id: int, job_id: int | None = None) -> set[int]:
    """Frames with at least one shape, tag or visible track. Raise TaskNotFound, JobNotFound."""
    found: set[int] = set()
    for job in jobs_of(task_id, job_id):
        mine: set[int] = set()
        for table in (models.LabeledShape, models.LabeledImage):
            rows = table.objects.filter(job_id=job.id)
            mine.update(rows.values_list("frame", flat=True).distinct())
        mine.update(_visible_track_frames(job))
        found.update(frame for frame in mine if job.holds(frame))
    return found


def _visible_track_frames(job: JobScope) -> Iterator[int]:
    """From each key frame to the next, unless it is outside; the last one to the job's end."""
    keys = models.TrackedShape.objects.filter(track__job_id=job.id).order_by("track_id", "frame")
    paths: dict[int, list[tuple[int, bool]]] = defaultdict(list)
    for track_id, frame, outside in keys.values_list("track_id", "frame", "outside"):
        paths[track_id].append((frame, outside))
    end = max(job.frames, default=-1) + 1
    for path in paths.values():
        for place, (frame, outside) in enumerate(path):
            if not outside:
                yield from range(frame, path[place + 1][0] if place + 1 < len(path) else end)


def _id(row: Any) -> int:
    return int(row.pk)


def _once(jobs: Sequence[int], items: Iterable[tuple[int, Item]]) -> tuple[Item, ...]:
    """Items of several jobs, those that two jobs have alike once.

    A job's own doubles all stay: the second one is left out only if another job has two as well.
    """
    if len(jobs) < 2:
        return tuple(item for _, item in items)
    seen: dict[Item, Counter[int]] = defaultdict(Counter)
    kept: list[Item] = []
    for job_id, item in items:
        counts = seen[_nameless(item)]
        counts[job_id] += 1
        if not any(count >= counts[job_id] for other, count in counts.items() if other != job_id):
            kept.append(item)
    return tuple(kept)


def _nameless(item: Item) -> Item:
    """The same without ids."""
    if isinstance(item, Track):
        return replace(
            item,
            id=None,
            shapes=tuple(replace(shape, id=None) for shape in item.shapes),
            elements=tuple(_nameless(element) for element in item.elements),
        )
    if isinstance(item, Shape):
        elements = tuple(_nameless(element) for element in item.elements)
        return replace(item, id=None, elements=elements)
    return replace(item, id=None)


def _values(row: Any) -> tuple[AttributeValue, ...]:
    values = sorted(row.attributes.all(), key=_id)
    return tuple(AttributeValue(spec_id=value.spec_id, value=value.value) for value in values)


def _tag(row: Any) -> Tag:
    return Tag(
        id=row.pk,
        frame=row.frame,
        label_id=row.label_id,
        group=row.group or 0,
        source=row.source or "manual",
        attributes=_values(row),
        score=row.score if HAS_TAG_SCORE else 1.0,
    )


def _shapes(rows: Sequence[Any]) -> Iterator[tuple[int, Shape]]:
    elements: dict[int, list[Shape]] = defaultdict(list)
    for row in rows:
        if row.parent_id is not None:
            elements[row.parent_id].append(_shape(row, ()))
    for row in rows:
        if row.parent_id is None:
            yield row.job_id, _shape(row, tuple(elements.get(row.pk, ())))


def _shape(row: Any, elements: tuple[Shape, ...]) -> Shape:
    return Shape(
        id=row.pk,
        type=str(row.type),  # type: ignore[arg-type]  # CVAT's words are the port's
        frame=row.frame,
        label_id=row.label_id,
        # A skeleton has none, whatever its column says.
        points=() if elements else tuple(map(float, row.points)),
        rotation=row.rotation,
        occluded=row.occluded,
        outside=row.outside,
        z_order=row.z_order,
        group=row.group or 0,
        source=row.source or "manual",
        attributes=_values(row),
        elements=elements,
        score=row.score if HAS_SCORE else 1.0,
    )


def track_ids_on(jobs: Sequence[int], frames: Collection[int] | None) -> set[int]:
    """Tracks with a key frame, their own or an element's, on any of the frames."""
    top = models.LabeledTrack.objects.filter(job_id__in=jobs, parent__isnull=True)
    if not top.exists():
        return set()
    if frames is None:
        return set(top.values_list("pk", flat=True))
    found: set[int] = set()
    for name in ("shape__frame", "elements__shape__frame"):
        for condition in frame_conditions(frames, name):
            found.update(top.filter(condition).values_list("pk", flat=True))
    return found


def _track_rows(jobs: Sequence[int], frames: Collection[int] | None) -> list[Any]:
    keys = models.TrackedShape.objects.order_by("frame").prefetch_related("attributes")
    found: list[Any] = []
    for some in slices(track_ids_on(jobs, frames)):
        rows = models.LabeledTrack.objects.filter(Q(pk__in=some) | Q(parent_id__in=some))
        found += rows.prefetch_related("attributes", Prefetch("shapes", queryset=keys))
    return found


def _tracks(rows: Sequence[Any]) -> Iterator[tuple[int, Track]]:
    elements: dict[int, list[Track]] = defaultdict(list)
    for row in rows:
        if row.parent_id is not None:
            elements[row.parent_id].append(_track(row, ()))
    for row in rows:
        if row.parent_id is None:
            yield row.job_id, _track(row, tuple(elements.get(row.pk, ())))


def _track(row: Any, elements: tuple[Track, ...]) -> Track:
    return Track(
        id=row.pk,
        frame=row.frame,
        label_id=row.label_id,
        group=row.group or 0,
        source=row.source or "manual",
        attributes=_values(row),
        shapes=tuple(_tracked_shape(shape) for shape in row.shapes.all()),
        elements=elements,
    )


def _tracked_shape(row: Any) -> TrackedShape:
    kind = str(row.type)
    return TrackedShape(
        id=row.pk,
        type=kind,  # type: ignore[arg-type]
        frame=row.frame,
        points=() if kind == "skeleton" else tuple(map(float, row.points)),
        rotation=row.rotation,
        occluded=row.occluded,
        outside=row.outside,
        z_order=row.z_order,
        attributes=_values(row),
    )
