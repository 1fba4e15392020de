"""Apply one atomic change of annotations."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.db import connection
from django.db.models import Q, QuerySet
from django.utils import timezone

from cvat_lambda.annotations.types import (
    AttributeValue,
    LabeledData,
    Shape,
    Tag,
    Track,
    TrackedShape,
)
from cvat_lambda.engine.ids_subquery import ids_subquery
from cvat_lambda.engine.port import Change, Removal, Written
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.labels import labels_of
from cvat_lambda.engine.standalone.scope import AnnotationScope, frame_conditions, scope_of
from cvat_lambda.errors import InvalidRequest, TaskNotFound
from cvat_lambda.json_rows import insert_rows, new_ids

Row = Mapping[str, Any]

JSON_COLUMNS: Final = ("points", "attributes")  # whose fields store tuples as JSON text


def lock(task_id: int) -> datetime:
    """Lock a task until the transaction ends, and update its date.

    Raise TaskNotFound.
    """
    now = timezone.now()
    if not models.Task.objects.filter(pk=task_id).update(updated_at=now):
        raise TaskNotFound(f"task #{task_id} was not found")
    return now


def hold(task_id: int) -> None:
    """Lock a task until the transaction ends, without a change of its date.

    SQLite has no row locks: there the first write of a transaction locks the database. Raise
    TaskNotFound.
    """
    rows = models.Task.objects.select_for_update(no_key=True).filter(pk=task_id)
    if not rows.values_list("pk", flat=True):
        raise TaskNotFound(f"task #{task_id} was not found")


def apply(change: Change) -> Written:
    """Apply a change. The caller has begun a transaction.

    The first statement is a write: SQLite locks the database at once, and PostgreSQL serializes the
    changes of a task. Raise TaskNotFound, JobNotFound, InvalidRequest.
    """
    now = lock(change.task_id)
    scope = scope_of(change.task_id, change.job_id)
    _check_labels(change)
    gone = _remove(scope, change.remove, change.frames)
    written = _add(scope, change.add)
    _touch_jobs(change, now)
    return Written(
        shape_ids=tuple((pk,) for pk in written[0]),
        tag_ids=tuple((pk,) for pk in written[1]),
        track_ids=tuple((pk,) for pk in written[2]),
        removed_shape_ids=tuple(gone.shapes),
        removed_tag_ids=tuple(gone.tags),
        removed_track_ids=tuple(gone.tracks),
    )


def _touch_jobs(change: Change, now: Any) -> None:
    jobs = models.Job.objects.filter(segment__task_id=change.task_id)
    if change.job_id is not None:
        jobs = jobs.filter(pk=change.job_id)
    else:
        jobs = jobs.filter(type=models.JobType.ANNOTATION)
        frames = change.frames or tuple(_frames_of(change.add))
        if frames:
            jobs = jobs.filter(
                segment__start_frame__lte=max(frames), segment__stop_frame__gte=min(frames)
            )
    jobs.update(updated_at=now)


def _frames_of(data: LabeledData) -> Iterator[int]:
    items: tuple[Shape | Tag | Track, ...] = (*data.shapes, *data.tags, *data.tracks)
    for item in items:
        yield item.frame


def _label_ids(data: LabeledData) -> set[int]:
    used = {tag.label_id for tag in data.tags}
    items: tuple[Shape | Track, ...] = (*data.shapes, *data.tracks)
    for item in items:
        used.add(item.label_id)
        used.update(element.label_id for element in item.elements)
    return used


def _check_labels(change: Change) -> None:
    used = _label_ids(change.add)
    if not used:
        return
    project_id = models.Task.objects.values_list("project_id", flat=True).get(pk=change.task_id)
    known = set(labels_of(change.task_id, project_id).values_list("pk", flat=True))
    if used - known:
        raise InvalidRequest(f"label #{min(used - known)} is not a label of task #{change.task_id}")


@dataclass(slots=True)
class _Removed:
    """Ids of the removed annotations."""

    shapes: list[int] = field(default_factory=list)
    tags: list[int] = field(default_factory=list)
    tracks: list[int] = field(default_factory=list)


def _remove(scope: AnnotationScope, removal: Removal, frames: Collection[int]) -> _Removed:
    gone = _Removed()
    if removal.policy == "ids":
        _remove_ids(scope, removal, gone)
    elif removal.policy != "none":
        for condition in frame_conditions(scope.on_frames(frames)):
            if removal.policy == "automatic":
                condition &= Q(source="auto")
            condition &= _with_labels(removal)
            shapes = scope.rows(models.LabeledShape).filter(condition)
            tags = scope.rows(models.LabeledTag).filter(condition)
            gone.shapes += _delete_rows(_without(shapes, removal.kept_shape_ids))
            gone.tags += _delete_rows(_without(tags, removal.kept_tag_ids))
    return gone


def _with_labels(removal: Removal) -> Q:
    return Q() if removal.label_ids is None else Q(label_id__in=list(removal.label_ids))


def _without(rows: QuerySet[Any], ids: Collection[int]) -> QuerySet[Any]:
    return rows.exclude(pk__in=ids_subquery(ids)) if ids else rows


def _remove_ids(scope: AnnotationScope, removal: Removal, gone: _Removed) -> None:
    """Remove rows of the task by id, also private ones of its jobs."""
    named: list[tuple[Any, Collection[int], list[int]]] = [
        (models.LabeledShape, removal.shape_ids, gone.shapes),
        (models.LabeledTag, removal.tag_ids, gone.tags),
        (models.LabeledTrack, removal.track_ids, gone.tracks),
    ]
    for table, ids, found in named:
        if not ids:
            continue
        rows = table.objects.filter(
            _with_labels(removal), task_id=scope.task_id, pk__in=ids_subquery(ids)
        )
        if scope.frames is not None:
            rows = rows.filter(job_id=scope.private_job_id)
        found += _delete_rows(rows)


def delete_annotations(task_id: int) -> None:
    """Delete all annotations of a task, also private ones of its jobs."""
    for table in (models.LabeledTag, models.LabeledShape, models.LabeledTrack):
        _delete_rows(table._default_manager.filter(task_id=task_id))


def _delete_rows(rows: QuerySet[Any]) -> list[int]:
    """Delete rows with one statement per table, children first. Return the ids of the objects.

    Django's cascade would load every row into memory first.
    """
    table = rows.model
    top = rows if table is models.LabeledTag else rows.filter(parent__isnull=True)
    found = list(top.values_list("pk", flat=True))
    if found:
        if table is not models.LabeledTag:
            _delete_below(table, found)
        parents = table.objects.filter(pk__in=ids_subquery(found))
        parents._raw_delete(parents.db)
    return found


def _delete_below(table: Any, ids: Sequence[int]) -> None:
    """Delete the elements of skeletons and the keyframes of tracks."""
    if table is models.LabeledTrack:
        elements = table.objects.filter(parent_id__in=ids_subquery(ids)).values_list(
            "pk", flat=True
        )
        keys = models.TrackedShape.objects.filter(track_id__in=ids_subquery([*ids, *elements]))
        keys._raw_delete(keys.db)
    children = table.objects.filter(parent_id__in=ids_subquery(ids))
    children._raw_delete(children.db)


def _pairs(values: Iterable[AttributeValue]) -> tuple[tuple[int, str], ...]:
    return tuple((item.spec_id, item.value) for item in values)


def _common(scope: AnnotationScope, item: Tag | Shape | Track) -> Row:
    return {
        "task_id": scope.task_id,
        "job_id": scope.private_job_id,
        "label_id": item.label_id,
        "frame": item.frame,
        "group": item.group,
        "source": item.source,
        "score": item.score,
        "attributes": _pairs(item.attributes),
        "extra": item.extra,
    }


def _placed(item: Shape | TrackedShape) -> Row:
    return {
        "type": item.type,
        "points": item.points,
        "rotation": item.rotation,
        "occluded": item.occluded,
        "outside": item.outside,
        "z_order": item.z_order,
    }


def _add(scope: AnnotationScope, data: LabeledData) -> tuple[list[int], list[int], list[int]]:
    """Insert with one statement per table and level. Return the ids of shapes, tags and tracks."""
    return (
        _add_shapes(scope, data.shapes),
        _insert(models.LabeledTag, [_common(scope, tag) for tag in data.tags]),
        _add_tracks(scope, data.tracks),
    )


def _insert(table: Any, rows: Sequence[Row]) -> list[int]:
    """Insert rows. Return their ids in the same order."""
    if connection.vendor != "postgresql":
        return [row.pk for row in table.objects.bulk_create([table(**row) for row in rows])]
    ids = new_ids(table, len(rows))
    texts = [
        (field.attname, field.get_prep_value)
        for field in table._meta.concrete_fields
        if field.attname in JSON_COLUMNS
    ]
    insert_rows(
        table,
        [
            {**row, **{name: text(row[name]) for name, text in texts}, "id": pk}
            for pk, row in zip(ids, rows, strict=True)
        ],
    )
    return ids


def _shape_row(scope: AnnotationScope, shape: Shape, parent_id: int | None = None) -> Row:
    return {**_common(scope, shape), **_placed(shape), "parent_id": parent_id}


def _add_shapes(scope: AnnotationScope, shapes: Sequence[Shape]) -> list[int]:
    ids = _insert(models.LabeledShape, [_shape_row(scope, item) for item in shapes])
    _insert(
        models.LabeledShape,
        [
            _shape_row(scope, element, pk)
            for shape, pk in zip(shapes, ids, strict=True)
            for element in shape.elements
        ],
    )
    return ids


def _track_row(
    scope: AnnotationScope, track: Track, parent_id: int | None = None
) -> models.LabeledTrack:
    return models.LabeledTrack(**_common(scope, track), parent_id=parent_id)


def _tracked_row(track_id: int, shape: TrackedShape) -> models.TrackedShape:
    values = {
        **_placed(shape),
        "frame": shape.frame,
        "attributes": _pairs(shape.attributes),
        "extra": shape.extra,
    }
    return models.TrackedShape(track_id=track_id, **values)


def _add_tracks(scope: AnnotationScope, tracks: Sequence[Track]) -> list[int]:
    rows = models.LabeledTrack.objects.bulk_create([_track_row(scope, item) for item in tracks])
    elements = [
        (element, row.pk)
        for track, row in zip(tracks, rows, strict=True)
        for element in track.elements
    ]
    element_rows = models.LabeledTrack.objects.bulk_create(
        [_track_row(scope, element, parent_id) for element, parent_id in elements]
    )
    everyone = [*zip(tracks, rows, strict=True)]
    everyone += zip((element for element, _ in elements), element_rows, strict=True)
    models.TrackedShape.objects.bulk_create(
        [_tracked_row(row.pk, shape) for track, row in everyone for shape in track.shapes]
    )
    return [row.pk for row in rows]
