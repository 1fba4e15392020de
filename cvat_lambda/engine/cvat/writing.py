"""Write a change of annotations, job by job.

CVAT stores the annotations of each job, so a shape on a frame of overlapping jobs is written to
each. `inserting` writes tags and shapes, and CVAT's writer the tracks. Each job gets one event of
created and one of deleted annotations. In a background request the update dates of jobs, tasks and
projects change without webhooks; they are triggered once, at its end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cvat.apps.dataset_manager.annotation import AnnotationIR
from cvat.apps.engine import models
from cvat.apps.events.handlers import handle_annotations_change
from django.contrib.auth import get_user_model
from django.db import DataError
from django.db.models import Q
from django.utils import timezone
from rest_framework.exceptions import ValidationError

from cvat_lambda.annotations.serialize import track_to_json
from cvat_lambda.annotations.types import Shape, Tag, Track
from cvat_lambda.engine.cvat.compat import (
    JobAnnotationWithoutTouch,
    impersonate,
    in_http_request,
    locked_jobs,
)
from cvat_lambda.engine.cvat.inserting import insert_shapes, insert_tags
from cvat_lambda.engine.cvat.reading import JobFrames, batches, frame_conditions, jobs_of
from cvat_lambda.engine.cvat.tasks import attribute_ids_by_label
from cvat_lambda.engine.port import Change, Removal, Written
from cvat_lambda.errors import InvalidRequest, TaskNotFound

Json = dict[str, Any]


def apply(change: Change) -> Written:
    """Carry out a change inside a transaction.

    Raise TaskNotFound, JobNotFound, InvalidRequest (a label, attribute or frame of another task).
    """
    scope = jobs_of(change.task_id, change.job_id)
    edits = _Edits(len(change.add.shapes), len(change.add.tags), len(change.add.tracks))
    _plan_removal(change, scope, edits)
    _plan_addition(change, scope, edits)
    if edits.by_job:
        user = _user(change.user_id)
        with impersonate(user):
            rows = locked_jobs(sorted(edits.by_job))
            _check_labels(rows, edits)
            for row in rows:
                _carry_out(row, edits.by_job[row.pk], edits)
            update_dates(rows, notify=in_http_request())
    return edits.written()


def lock_rows(
    task_id: int, shape_ids: Collection[int], tag_ids: Collection[int], track_ids: Collection[int]
) -> None:
    """Lock the rows of annotations until the commit. Raise TaskNotFound.

    CVAT deletes and inserts the row of an annotation that it updates, so it waits for the lock.
    """
    if not models.Task.objects.filter(pk=task_id).exists():
        raise TaskNotFound(f"task #{task_id} was not found")
    named: list[tuple[Any, Collection[int]]] = [
        (models.LabeledImage, tag_ids),
        (models.LabeledShape, shape_ids),
        (models.LabeledTrack, track_ids),
    ]
    for table, ids in named:
        rows = _locked(table).filter(job__segment__task_id=task_id)
        for some in batches(sorted(ids)):
            list(rows.filter(pk__in=some).values_list("pk", flat=True))


def update_dates(jobs: Sequence[Any], *, notify: bool) -> None:
    """Set the update dates of jobs, their task and its project. ``notify`` triggers webhooks."""
    if not jobs:
        return
    task = jobs[0].segment.task
    parents = [task] if task.project is None else [task, task.project]
    if notify:
        for row in (*jobs, *parents):
            row.touch()
        return
    now = timezone.now()
    models.Job.objects.filter(pk__in=[job.pk for job in jobs]).update(updated_date=now)
    for row in parents:
        type(row).objects.filter(pk=row.pk).update(updated_date=now)


@dataclass(slots=True)
class _Edit:
    """What is removed from one job and added to it, as JSON in CVAT's format."""

    removed_tags: list[Json] = field(default_factory=list)
    removed_shapes: list[Json] = field(default_factory=list)
    removed_tracks: list[Json] = field(default_factory=list)
    # Each with its index in `Change.add`.
    tags: list[tuple[int, Tag]] = field(default_factory=list)
    shapes: list[tuple[int, Shape]] = field(default_factory=list)
    tracks: list[tuple[int, Json]] = field(default_factory=list)

    @property
    def removes(self) -> bool:
        return bool(self.removed_tags or self.removed_shapes or self.removed_tracks)


class _Edits:
    """The edits of all jobs and the ids of what they add."""

    def __init__(self, shapes: int, tags: int, tracks: int) -> None:
        self.by_job: dict[int, _Edit] = defaultdict(_Edit)
        self.shape_ids: list[list[int]] = [[] for _ in range(shapes)]
        self.tag_ids: list[list[int]] = [[] for _ in range(tags)]
        self.track_ids: list[list[int]] = [[] for _ in range(tracks)]

    def written(self) -> Written:
        return Written(
            shape_ids=tuple(map(tuple, self.shape_ids)),
            tag_ids=tuple(map(tuple, self.tag_ids)),
            track_ids=tuple(map(tuple, self.track_ids)),
            removed_shape_ids=self._removed("removed_shapes"),
            removed_tag_ids=self._removed("removed_tags"),
            removed_track_ids=self._removed("removed_tracks"),
        )

    def _removed(self, name: str) -> tuple[int, ...]:
        return tuple(item["id"] for edit in self.by_job.values() for item in getattr(edit, name))


def _user(user_id: int | None) -> Any:
    if user_id is None or in_http_request():
        return None
    return get_user_model()._default_manager.filter(pk=user_id).first()


def _carry_out(row: Any, edit: _Edit, edits: _Edits) -> None:
    if edit.removes:
        _delete(row, edit)
    try:
        if edit.tags or edit.shapes:
            _add_rows(row, edit, edits)
        if edit.tracks:
            _add_tracks(row, edit, edits)
    except (ValidationError, DataError) as exc:
        raise InvalidRequest(f"job #{row.pk} does not take these annotations: {exc}") from exc


def _add_rows(row: Any, edit: _Edit, edits: _Edits) -> None:
    tag_ids = insert_tags(row.pk, [tag for _, tag in edit.tags])
    shape_ids = insert_shapes(row.pk, [shape for _, shape in edit.shapes])
    for (place, _), pk in zip(edit.tags, tag_ids, strict=True):
        edits.tag_ids[place].append(pk)
    for (place, _), pk in zip(edit.shapes, shape_ids, strict=True):
        edits.shape_ids[place].append(pk)
    made = zip(shape_ids, edit.shapes, strict=True)
    data = {
        "tags": [{"id": pk} for pk in tag_ids],
        "shapes": [{"id": pk, "type": shape.type} for pk, (_, shape) in made],
    }
    handle_annotations_change(row, data, "create")


def _add_tracks(row: Any, edit: _Edit, edits: _Edits) -> None:
    tracks = [track for _, track in edit.tracks]
    JobAnnotationWithoutTouch(row.pk).create(
        {"version": 0, "tags": [], "shapes": [], "tracks": tracks}
    )
    for place, track in edit.tracks:
        if "id" in track:  # CVAT leaves out tracks without shapes
            edits.track_ids[place].append(track["id"])


def _check_labels(rows: Sequence[Any], edits: _Edits) -> None:
    """Raise InvalidRequest for a label or attribute of another task."""
    if not rows:
        return
    task = rows[0].segment.task
    known = attribute_ids_by_label(task.pk, task.project_id)
    for edit in edits.by_job.values():
        for _, item in (*edit.tags, *edit.shapes):
            for part in (item, *getattr(item, "elements", ())):
                _check_label(part.label_id, known, task.pk)
                for value in part.attributes:
                    if value.spec_id not in known[part.label_id]:
                        raise InvalidRequest(
                            f"attribute #{value.spec_id} is not one of label #{part.label_id}"
                        )
        for _, track in edit.tracks:
            for part in (track, *track.get("elements", ())):
                _check_label(part["label_id"], known, task.pk)


def _check_label(label_id: int, known: Mapping[int, Collection[int]], task_id: int) -> None:
    if label_id not in known:
        raise InvalidRequest(f"label #{label_id} is not a label of task #{task_id}")


# Removal


def _plan_removal(change: Change, scope: Sequence[JobFrames], edits: _Edits) -> None:
    removal = change.remove
    if removal.policy == "ids":
        _plan_removal_of_ids(change, removal, edits)
    elif removal.policy != "none":
        jobs = Q(job_id__in=[job.id for job in scope])
        if removal.policy == "automatic":
            jobs &= Q(source=str(models.SourceType.AUTO))
        jobs &= _with_labels(removal)
        kept_tags = Q(pk__in=list(removal.kept_tag_ids))
        kept_shapes = Q(pk__in=list(removal.kept_shape_ids))
        for condition in frame_conditions(change.frames):
            _plan_removal_of_tags(jobs & condition & ~kept_tags, edits)
            _plan_removal_of_shapes(jobs & condition & ~kept_shapes, edits)


def _plan_removal_of_ids(change: Change, removal: Removal, edits: _Edits) -> None:
    in_task = Q(job__segment__task_id=change.task_id)
    if change.job_id is not None:
        in_task &= Q(job_id=change.job_id)
    in_task &= _with_labels(removal)
    for ids in batches(removal.tag_ids):
        _plan_removal_of_tags(in_task & Q(pk__in=ids), edits)
    for ids in batches(removal.shape_ids):
        _plan_removal_of_shapes(in_task & Q(pk__in=ids), edits)
    for ids in batches(removal.track_ids):
        _plan_removal_of_tracks(in_task & Q(pk__in=ids), edits)


def _with_labels(removal: Removal) -> Q:
    return Q() if removal.label_ids is None else Q(label_id__in=list(removal.label_ids))


def _locked(table: Any) -> Any:
    """Return a query that locks its rows until the commit. Call it before locking their jobs.

    CVAT deletes rows first and then updates their job. The same order avoids a deadlock.
    """
    return table.objects.select_for_update(of=("self",)).order_by("pk")


def _plan_removal_of_tags(condition: Q, edits: _Edits) -> None:
    rows = _locked(models.LabeledImage).filter(condition)
    for pk, job_id in rows.values_list("pk", "job_id"):
        edits.by_job[job_id].removed_tags.append({"id": pk})


def _plan_removal_of_shapes(condition: Q, edits: _Edits) -> None:
    rows = _locked(models.LabeledShape).filter(condition, parent__isnull=True)
    for pk, job_id, kind in rows.values_list("pk", "job_id", "type"):
        edits.by_job[job_id].removed_shapes.append({"id": pk, "type": str(kind)})


def _plan_removal_of_tracks(condition: Q, edits: _Edits) -> None:
    """Plan the removal of tracks, with their shapes: CVAT's event of a deletion counts them."""
    rows = _locked(models.LabeledTrack).filter(condition, parent__isnull=True)
    for row in rows.prefetch_related("shapes", "elements__shapes"):
        edits.by_job[row.job_id].removed_tracks.append(
            {**_removed(row), "elements": [_removed(element) for element in row.elements.all()]}
        )


def _removed(track: Any) -> Json:
    shapes = sorted(track.shapes.all(), key=lambda shape: shape.frame)
    return {
        "id": track.pk,
        "label_id": track.label_id,
        "shapes": [
            {
                "id": shape.pk,
                "type": str(shape.type),
                "frame": shape.frame,
                "outside": shape.outside,
            }
            for shape in shapes
        ],
    }


def _delete(row: Any, edit: _Edit) -> None:
    """Delete rows and the rows that refer to them, by lists of ids.

    CVAT's deletion uses nested queries, for which PostgreSQL takes hundreds of milliseconds.
    """
    for ids in batches([item["id"] for item in edit.removed_tags]):
        models.LabeledImageAttributeVal.objects.filter(image_id__in=ids).delete()
        models.LabeledImage.objects.filter(pk__in=ids).delete()
    for ids in batches([item["id"] for item in edit.removed_shapes]):
        _delete_family(models.LabeledShape, ids, _delete_shape_values)
    for ids in batches([item["id"] for item in edit.removed_tracks]):
        _delete_family(models.LabeledTrack, ids, _delete_keys)
    removed = {
        "tags": edit.removed_tags,
        "shapes": edit.removed_shapes,
        "tracks": edit.removed_tracks,
    }
    handle_annotations_change(row, removed, "delete")


def _delete_family(
    table: Any, ids: Sequence[int], delete_below: Callable[[Sequence[int]], None]
) -> None:
    """Delete rows and the elements of skeletons, elements first."""
    children = list(table.objects.filter(parent_id__in=ids).values_list("pk", flat=True))
    delete_below([*ids, *children])
    for some in (children, ids):
        if some:
            table.objects.filter(pk__in=some).delete()


def _delete_shape_values(ids: Sequence[int]) -> None:
    models.LabeledShapeAttributeVal.objects.filter(shape_id__in=ids).delete()


def _delete_keys(ids: Sequence[int]) -> None:
    keys = list(models.TrackedShape.objects.filter(track_id__in=ids).values_list("pk", flat=True))
    for some in batches(keys):
        models.TrackedShapeAttributeVal.objects.filter(shape_id__in=some).delete()
        models.TrackedShape.objects.filter(pk__in=some).delete()
    models.LabeledTrackAttributeVal.objects.filter(track_id__in=ids).delete()


# Addition


def _plan_addition(change: Change, scope: Sequence[JobFrames], edits: _Edits) -> None:
    add = change.add
    for place, tag in enumerate(add.tags):
        for job in _holders(scope, tag.frame, change):
            edits.by_job[job.id].tags.append((place, tag))
    for place, shape in enumerate(add.shapes):
        for job in _holders(scope, shape.frame, change):
            edits.by_job[job.id].shapes.append((place, shape))
    if add.tracks:
        for job_id, place, track in _tracks_by_job(change, scope, add.tracks):
            edits.by_job[job_id].tracks.append((place, track))


def _holders(scope: Sequence[JobFrames], frame: int, change: Change) -> list[JobFrames]:
    found = [job for job in scope if job.contains(frame)]
    if not found:
        where = f"task #{change.task_id}" if change.job_id is None else f"job #{change.job_id}"
        raise InvalidRequest(f"frame {frame} is not one of the frames to annotate in {where}")
    return found


def _tracks_by_job(
    change: Change, scope: Sequence[JobFrames], tracks: Sequence[Track]
) -> Iterator[tuple[int, int, Json]]:
    """Yield the parts of each track by job, cut as CVAT cuts the tracks of a task."""
    found = [_without_ids(track_to_json(track)) for track in tracks]
    if change.job_id is not None:
        yield from ((change.job_id, place, track) for place, track in enumerate(found))
        return
    dimension = models.Task.objects.values_list("dimension", flat=True).get(pk=change.task_id)
    for place, track in enumerate(found):
        whole = AnnotationIR(dimension, {"tags": [], "shapes": [], "tracks": [track]})
        for job in scope:
            for part in whole.slice(min(job.frames), max(job.frames)).tracks:
                yield job.id, place, part


def _without_ids(item: Json) -> Json:
    item.pop("id", None)
    for name in ("elements", "shapes"):
        for part in item.get(name, ()):
            _without_ids(part)
    return item
