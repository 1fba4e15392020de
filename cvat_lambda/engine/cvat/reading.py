"""Read annotations of a job or a task. Those that overlapping jobs share are returned once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from cvat.apps.engine import models
from django.db.models import Max, Prefetch, Q

from cvat_lambda.annotations.types import (
    AttributeValue,
    LabeledData,
    Shape,
    Tag,
    Track,
    TrackedShape,
)
from cvat_lambda.engine.cvat.compat import HAS_SCORE, HAS_TAG_SCORE
from cvat_lambda.engine.cvat.tasks import annotated_jobs, read_job
from cvat_lambda.engine.port import AnnotationKind
from cvat_lambda.errors import JobNotFound

MAX_ITEMS = 1000  # ids or frames in one condition

Item = TypeVar("Item", Tag, Shape, Track)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFrames:
    """A job of the task that is read or written, and its frames."""

    id: int
    frames: range | frozenset[int]

    def contains(self, frame: int) -> bool:
        """Return whether the job has a frame."""
        return frame in self.frames


def jobs_of(task_id: int, job_id: int | None) -> list[JobFrames]:
    """Return the one job, or the jobs whose annotations together are the task's, in order.

    Raise TaskNotFound, JobNotFound.
    """
    if job_id is not None:
        job = read_job(job_id)
        if job.task_id != task_id:
            raise JobNotFound(f"job #{job_id} of task #{task_id} was not found")
        jobs = [job]
    else:
        jobs = annotated_jobs(task_id)
    return [JobFrames(id=job.id, frames=_searchable(job.frames)) for job in jobs]


def _searchable(frames: Sequence[int]) -> range | frozenset[int]:
    return frames if isinstance(frames, range) else frozenset(frames)


def batches(items: Collection[int]) -> Iterator[list[int]]:
    """Split ids or frames into lists for one ``IN`` condition each."""
    ordered = list(items)
    for start in range(0, len(ordered), MAX_ITEMS):
        yield ordered[start : start + MAX_ITEMS]


def frame_conditions(frames: Collection[int] | None, name: str = "frame") -> Iterator[Q]:
    """Yield conditions that together select the frames."""
    if frames is None:
        yield Q()
    elif frames and _is_run(frames):
        yield Q(**{f"{name}__gte": min(frames), f"{name}__lte": max(frames)})
    else:
        for some in batches(frames):
            yield Q(**{f"{name}__in": some})


def _is_run(frames: Collection[int]) -> bool:
    """Return whether the frames are consecutive, as those of a batch nearly always are.

    A condition on a range is faster than one on a list.
    """
    if isinstance(frames, range):
        return frames.step == 1
    return max(frames) - min(frames) + 1 == len(set(frames))


# Reading


def read(
    task_id: int, *, job_id: int | None = None, frames: Collection[int] | None = None
) -> LabeledData:
    """Return the annotations on these frames (by default on all) with ids, in order of id.

    A track is returned whole if it has a keyframe on any of the frames. Equal annotations of
    overlapping jobs are returned once, with the lowest id. Raise TaskNotFound, JobNotFound.
    """
    jobs = [job.id for job in jobs_of(task_id, job_id)]
    tags: list[Any] = []
    shapes: list[Any] = []
    for condition in frame_conditions(frames):
        here = condition & Q(job_id__in=jobs)
        tags += models.LabeledImage.objects.filter(here).prefetch_related("attributes")
        shapes += models.LabeledShape.objects.filter(here).prefetch_related("attributes")
    return LabeledData(
        tags=_without_duplicates(jobs, ((row.job_id, _tag(row)) for row in sorted(tags, key=_id))),
        shapes=_without_duplicates(jobs, _shapes(sorted(shapes, key=_id))),
        tracks=_read_tracks(jobs, frames),
    )


def read_ids(
    task_id: int, shape_ids: Collection[int], tag_ids: Collection[int], track_ids: Collection[int]
) -> LabeledData:
    """Return the annotations of a task with these ids, also equal ones of overlapping jobs."""
    of_task = Q(job__segment__task_id=task_id)
    tags: list[Any] = []
    shapes: list[Any] = []
    for ids in batches(tag_ids):
        rows = models.LabeledImage.objects.filter(of_task, pk__in=ids)
        tags += rows.prefetch_related("attributes")
    for ids in batches(shape_ids):
        rows = models.LabeledShape.objects.filter(of_task, Q(pk__in=ids) | Q(parent_id__in=ids))
        shapes += rows.prefetch_related("attributes")
    tracks = _rows_of_tracks(track_ids, of_task)
    return LabeledData(
        tags=tuple(_tag(row) for row in sorted(tags, key=_id)),
        shapes=tuple(shape for _, shape in _shapes(sorted(shapes, key=_id))),
        tracks=tuple(track for _, track in _tracks(sorted(tracks, key=_id))),
    )


def read_tracks(
    task_id: int, *, job_id: int | None = None, frames: Collection[int] | None = None
) -> tuple[Track, ...]:
    """Return the tracks of `read`. Raise TaskNotFound, JobNotFound."""
    return _read_tracks([job.id for job in jobs_of(task_id, job_id)], frames)


def _read_tracks(jobs: Sequence[int], frames: Collection[int] | None) -> tuple[Track, ...]:
    rows = _track_rows(jobs, frames)
    return _without_duplicates(jobs, _tracks(sorted(rows, key=_id)))


def annotated_frames(task_id: int, job_id: int | None = None) -> set[int]:
    """Return frames with a shape, a tag or a visible track. Raise TaskNotFound, JobNotFound."""
    found: set[int] = set()
    for job in jobs_of(task_id, job_id):
        of_job: set[int] = set()
        for table in (models.LabeledShape, models.LabeledImage):
            rows = table.objects.filter(job_id=job.id)
            of_job.update(rows.values_list("frame", flat=True).distinct())
        of_job.update(_visible_track_frames(job))
        found.update(frame for frame in of_job if job.contains(frame))
    return found


def _visible_track_frames(job: JobFrames) -> Iterator[int]:
    """Yield the frames on which a track is visible; its last shape holds to the job's end."""
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


def _without_duplicates(jobs: Sequence[int], items: Iterable[tuple[int, Item]]) -> tuple[Item, ...]:
    """Return the items of several jobs without those that another job has as well.

    Equal items of one job are all kept. If each of two jobs has an item twice, it is kept twice.
    """
    if len(jobs) < 2:
        return tuple(item for _, item in items)
    seen: dict[Item, Counter[int]] = defaultdict(Counter)
    kept: list[Item] = []
    for job_id, item in items:
        counts = seen[_without_ids(item)]
        counts[job_id] += 1
        if not any(count >= counts[job_id] for other, count in counts.items() if other != job_id):
            kept.append(item)
    return tuple(kept)


def _without_ids(item: Item) -> Item:
    """Return the item without ids."""
    if isinstance(item, Track):
        return replace(
            item,
            id=None,
            shapes=tuple(replace(shape, id=None) for shape in item.shapes),
            elements=tuple(_without_ids(element) for element in item.elements),
        )
    if isinstance(item, Shape):
        elements = tuple(_without_ids(element) for element in item.elements)
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
        type=str(row.type),  # type: ignore[arg-type]  # CVAT and the port use the same names
        frame=row.frame,
        label_id=row.label_id,
        # The points of a skeleton are those of its elements.
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
    """Return tracks with a keyframe, their own or an element's, on any of the frames."""
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


_TABLES: dict[AnnotationKind, Any] = {
    "shape": models.LabeledShape,
    "tag": models.LabeledImage,
    "track": models.LabeledTrack,
}


def existing_ids(kind: AnnotationKind, ids: Collection[int]) -> set[int]:
    """Return the ids of which annotations of this kind exist in any task."""
    return {
        found
        for some in batches(ids)
        for found in _TABLES[kind].objects.filter(pk__in=some).values_list("pk", flat=True)
    }


def last_track_id(task_id: int) -> int:
    """Return the highest id of the tracks of a task, or 0 if it has none."""
    tracks = models.LabeledTrack.objects.filter(job__segment__task_id=task_id)
    return int(tracks.aggregate(last=Max("pk"))["last"] or 0)


def _track_rows(jobs: Sequence[int], frames: Collection[int] | None) -> list[Any]:
    return _rows_of_tracks(track_ids_on(jobs, frames), Q())


def _rows_of_tracks(track_ids: Collection[int], condition: Q) -> list[Any]:
    """Return rows of tracks and of the elements of skeleton tracks, with their keyframes."""
    keys = models.TrackedShape.objects.order_by("frame").prefetch_related("attributes")
    found: list[Any] = []
    for some in batches(track_ids):
        rows = models.LabeledTrack.objects.filter(condition, Q(pk__in=some) | Q(parent_id__in=some))
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
