"""Reads rows of annotations as frozen data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.db.models import Model, Q

from cvat_lambda.annotations.types import (
    AttributeValue,
    LabeledData,
    Shape,
    Tag,
    Track,
    TrackedShape,
)
from cvat_lambda.engine.ids_subquery import ids_subquery
from cvat_lambda.engine.port import AnnotationKind
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.scope import AnnotationScope, frame_conditions, parameter_batches


def read(scope: AnnotationScope, frames: Collection[int] | None = None) -> LabeledData:
    """Return the annotations on these frames (default: all), with ids, in order of id.

    A track belongs to each frame on which it has a keyframe. It is returned with all keyframes.
    """
    tracks = read_tracks(scope, frames)
    return replace(read_shapes_and_tags(scope, frames), tracks=tracks)


def read_shapes_and_tags(
    scope: AnnotationScope, frames: Collection[int] | None = None
) -> LabeledData:
    """Return `read` without its tracks."""
    wanted = scope.on_frames(frames)
    tags: list[models.LabeledTag] = []
    shapes: list[models.LabeledShape] = []
    for condition in frame_conditions(wanted):
        tags += scope.rows(models.LabeledTag).filter(condition)
        shapes += scope.rows(models.LabeledShape).filter(condition)
    return LabeledData(
        tags=tuple(_tag(row) for row in sorted(tags, key=_id)),
        shapes=_shapes(sorted(shapes, key=_id)),
    )


_TABLES: dict[AnnotationKind, Any] = {
    "shape": models.LabeledShape,
    "tag": models.LabeledTag,
    "track": models.LabeledTrack,
}


def existing_ids(kind: AnnotationKind, ids: Collection[int]) -> set[int]:
    """Return the ids that exist in any task."""
    return set(_TABLES[kind].objects.filter(pk__in=ids_subquery(ids)).values_list("pk", flat=True))


def read_tracks(scope: AnnotationScope, frames: Collection[int] | None = None) -> tuple[Track, ...]:
    """Return only the tracks of `read`."""
    return _tracks_by_id(track_ids_on(scope, scope.on_frames(frames)))


def _id(row: Model) -> int:
    return int(row.pk)


def _values(pairs: Iterable[tuple[int, str]]) -> tuple[AttributeValue, ...]:
    return tuple(AttributeValue(spec_id=spec_id, value=value) for spec_id, value in pairs)


def _tag(row: models.LabeledTag) -> Tag:
    return Tag(
        id=row.pk,
        frame=row.frame,
        label_id=row.label_id,
        group=row.group,
        source=row.source,  # type: ignore[arg-type]
        attributes=_values(row.attributes),
        score=row.score,
        extra=row.extra,
    )


def _shapes(rows: Sequence[models.LabeledShape]) -> tuple[Shape, ...]:
    elements: dict[int, list[Shape]] = defaultdict(list)
    for row in rows:
        if row.parent_id is not None:
            elements[row.parent_id].append(_shape(row, ()))
    return tuple(
        _shape(row, tuple(elements.get(row.pk, ()))) for row in rows if row.parent_id is None
    )


def _shape(row: models.LabeledShape, elements: tuple[Shape, ...]) -> Shape:
    return Shape(
        id=row.pk,
        type=row.type,  # type: ignore[arg-type]
        frame=row.frame,
        label_id=row.label_id,
        points=row.points,
        rotation=row.rotation,
        occluded=row.occluded,
        outside=row.outside,
        z_order=row.z_order,
        group=row.group,
        source=row.source,  # type: ignore[arg-type]
        attributes=_values(row.attributes),
        elements=elements,
        score=row.score,
        extra=row.extra,
    )


def track_ids_on(scope: AnnotationScope, frames: Collection[int] | None) -> list[int]:
    """Return tracks that have a keyframe, of their own or of an element, on any of the frames."""
    top = scope.rows(models.LabeledTrack).filter(parent__isnull=True)
    if frames is None:
        return list(top.values_list("pk", flat=True))
    found: set[int] = set()
    for condition in frame_conditions(frames, "shapes__frame"):
        found.update(top.filter(condition).values_list("pk", flat=True))
    for condition in frame_conditions(frames, "elements__shapes__frame"):
        found.update(top.filter(condition).values_list("pk", flat=True))
    return sorted(found)


def read_ids(
    task_id: int,
    *,
    shape_ids: Collection[int] = (),
    tag_ids: Collection[int] = (),
    track_ids: Collection[int] = (),
) -> LabeledData:
    """Return annotations of a task by their ids."""
    shapes: list[models.LabeledShape] = []
    tags: list[models.LabeledTag] = []
    if shape_ids:
        of_task = models.LabeledShape.objects.filter(task_id=task_id)
        # Two statements, since PostgreSQL scans the whole table for one with OR.
        shapes += of_task.filter(pk__in=ids_subquery(shape_ids))
        shapes += of_task.filter(parent_id__in=ids_subquery(shape_ids))
    if tag_ids:
        tags += models.LabeledTag.objects.filter(task_id=task_id, pk__in=ids_subquery(tag_ids))
    return LabeledData(
        tags=tuple(_tag(row) for row in sorted(tags, key=_id)),
        shapes=_shapes(sorted(shapes, key=_id)),
        tracks=_tracks_by_id(_of_task(task_id, track_ids)),
    )


def _of_task(task_id: int, track_ids: Collection[int]) -> list[int]:
    tracks = models.LabeledTrack.objects.filter(task_id=task_id)
    return list(tracks.filter(pk__in=ids_subquery(track_ids)).values_list("pk", flat=True))


def read_track(scope: AnnotationScope, track_id: int) -> Track | None:
    """Return a track of the scope with all its keyframes, None if the scope does not have it."""
    found = scope.rows(models.LabeledTrack).filter(pk=track_id).values_list("pk", flat=True)
    return next(iter(_tracks_by_id(list(found))), None)


def _tracks_by_id(track_ids: Collection[int]) -> tuple[Track, ...]:
    rows: list[models.LabeledTrack] = []
    for ids in parameter_batches(track_ids):
        query = models.LabeledTrack.objects.filter(Q(pk__in=ids) | Q(parent_id__in=ids))
        rows += query.prefetch_related("shapes")
    return build_tracks(rows, {row.pk: row.shapes.all() for row in rows})


def build_tracks(
    rows: Iterable[models.LabeledTrack], keys: Mapping[int, Iterable[models.TrackedShape]]
) -> tuple[Track, ...]:
    """Return tracks in order of id; ``keys`` has the keyframes of each row, in order of frame."""
    ordered = sorted(rows, key=_id)
    elements: dict[int, list[Track]] = defaultdict(list)
    for row in ordered:
        if row.parent_id is not None:
            elements[row.parent_id].append(_track(row, keys.get(row.pk, ()), ()))
    return tuple(
        _track(row, keys.get(row.pk, ()), tuple(elements.get(row.pk, ())))
        for row in ordered
        if row.parent_id is None
    )


def _track(
    row: models.LabeledTrack, keys: Iterable[models.TrackedShape], elements: tuple[Track, ...]
) -> Track:
    return Track(
        id=row.pk,
        frame=row.frame,
        label_id=row.label_id,
        group=row.group,
        source=row.source,  # type: ignore[arg-type]
        attributes=_values(row.attributes),
        shapes=tuple(_tracked_shape(shape) for shape in keys),
        elements=elements,
        score=row.score,
        extra=row.extra,
    )


def _tracked_shape(row: models.TrackedShape) -> TrackedShape:
    return TrackedShape(
        id=row.pk,
        type=row.type,  # type: ignore[arg-type]
        frame=row.frame,
        points=row.points,
        rotation=row.rotation,
        occluded=row.occluded,
        outside=row.outside,
        z_order=row.z_order,
        attributes=_values(row.attributes),
        extra=row.extra,
    )


def annotated_frames(scope: AnnotationScope, size: int) -> set[int]:
    """Return the frames with at least one shape, tag or visible track."""
    found: set[int] = set()
    found.update(scope.rows(models.LabeledShape).values_list("frame", flat=True).distinct())
    found.update(scope.rows(models.LabeledTag).values_list("frame", flat=True).distinct())
    keys = models.TrackedShape.objects.filter(scope.condition("track__"))
    keys = keys.order_by("track_id", "frame")
    by_track: dict[int, list[tuple[int, bool]]] = defaultdict(list)
    for track_id, frame, outside in keys.values_list("track_id", "frame", "outside"):
        by_track[track_id].append((frame, outside))
    for path in by_track.values():
        found.update(visible_frames(path, size))
    return found if scope.frames is None else found.intersection(scope.frames)


def visible_frames(path: Sequence[tuple[int, bool]], size: int) -> Iterator[int]:
    """Return the frames on which a track is visible."""
    for place, (frame, outside) in enumerate(path):
        if not outside:
            end = path[place + 1][0] if place + 1 < len(path) else size
            yield from range(frame, end)
