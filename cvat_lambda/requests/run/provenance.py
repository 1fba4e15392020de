"""Which request made which annotation, and whether a person has edited it since."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from django.db.models import Q, QuerySet

from cvat_lambda.annotations.fingerprint import fingerprint
from cvat_lambda.annotations.types import LabeledData, Shape
from cvat_lambda.engine.ids_subquery import ids_subquery
from cvat_lambda.engine.port import Engine, Removal, Task, Written
from cvat_lambda.requests.store.models import ObjectKind, Provenance, Shard


class Made(NamedTuple):
    """An annotation that a request made."""

    kind: str  # of ObjectKind
    object_id: int
    fingerprint: int | None  # of what was written; None: not known


MADE = Made._fields  # columns of Provenance


def rows_of(
    added: LabeledData, written: Written, stored_tracks: Iterable[tuple[int, int]]
) -> Iterator[tuple[int, float, Made]]:
    """Yield frame, score and `Made` of each annotation that a change added.

    ``stored_tracks`` are the ids and fingerprints of the tracks as the engine stored them: a track
    of several jobs is cut into one track a job.
    """
    for shape, ids in zip(added.shapes, written.shape_ids, strict=True):
        value = fingerprint(shape)
        yield from ((shape.frame, shape.score, Made(ObjectKind.SHAPE, pk, value)) for pk in ids)
    for tag, ids in zip(added.tags, written.tag_ids, strict=True):
        value = fingerprint(tag)
        yield from ((tag.frame, tag.score, Made(ObjectKind.TAG, pk, value)) for pk in ids)
    values = dict(stored_tracks)
    for track, ids in zip(added.tracks, written.track_ids, strict=True):
        for pk in ids:
            yield track.frame, track.score, Made(ObjectKind.TRACK, pk, values.get(pk))


def fingerprints_of_tracks(engine: Engine, task_id: int, written: Written) -> list[tuple[int, int]]:
    """Return the ids and fingerprints of the tracks that a change added, as stored."""
    ids = [pk for copies in written.track_ids for pk in copies]
    if not ids:
        return []
    stored = engine.lock_annotations(task_id, track_ids=ids)
    return [(track.id, fingerprint(track)) for track in stored.tracks if track.id is not None]


def split_edited(engine: Engine, task_id: int, made: Collection[Made]) -> tuple[Removal, Removal]:
    """Lock annotations of a task; return the ids of unedited ones and of edited ones.

    Annotations without a stored fingerprint count as unedited. Annotations that do not exist any
    more are in neither.
    """
    known = {(row.kind, row.object_id): row.fingerprint for row in made}
    compared = [key for key, value in known.items() if value is not None]
    stored = stored_fingerprints(engine, task_id, compared)
    unedited = [key for key, value in known.items() if value is None or stored.get(key) == value]
    edited = [key for key, value in stored.items() if known[key] != value]
    return removal_of(unedited), removal_of(edited)


def stored_fingerprints(
    engine: Engine, task_id: int, keys: Collection[tuple[str, int]]
) -> dict[tuple[str, int], int]:
    """Lock annotations, and return the fingerprints of those that exist by kind and id."""
    if not keys:
        return {}
    wanted = removal_of(keys)
    stored = engine.lock_annotations(
        task_id,
        shape_ids=wanted.shape_ids,
        tag_ids=wanted.tag_ids,
        track_ids=wanted.track_ids,
    )
    found: dict[tuple[str, int], int] = {}
    for kind, items in (
        (ObjectKind.SHAPE, stored.shapes),
        (ObjectKind.TAG, stored.tags),
        (ObjectKind.TRACK, stored.tracks),
    ):
        found.update({(kind, item.id): fingerprint(item) for item in items if item.id is not None})
    return found


def lock_unchanged(engine: Engine, task_id: int, shapes: Iterable[Shape]) -> bool:
    """Lock shapes that were read before; return whether all exist and nobody has edited one."""
    known = {(ObjectKind.SHAPE, shape.id): fingerprint(shape) for shape in shapes if shape.id}
    return stored_fingerprints(engine, task_id, known) == known


def removal_of(keys: Iterable[tuple[str, int]]) -> Removal:
    """Return the removal of exactly these annotations, by kind and id."""
    ids: dict[str, list[int]] = {kind: [] for kind in ObjectKind.values}
    for kind, object_id in keys:
        ids[kind].append(object_id)
    if not any(ids.values()):
        return Removal()
    return Removal(
        policy="ids",
        shape_ids=ids[ObjectKind.SHAPE],
        tag_ids=ids[ObjectKind.TAG],
        track_ids=ids[ObjectKind.TRACK],
    )


def forget_removed(written: Written) -> None:
    """Delete the provenance of what a change removed; call it in the same transaction."""
    removed: list[tuple[str, Collection[int]]] = [
        (ObjectKind.SHAPE, written.removed_shape_ids),
        (ObjectKind.TAG, written.removed_tag_ids),
        (ObjectKind.TRACK, written.removed_track_ids),
    ]
    for kind, ids in removed:
        if ids:
            Provenance.objects.filter(kind=kind, object_id__in=ids_subquery(ids)).delete()


def made_by_earlier_requests(
    task: Task,
    shard: Shard,
    function_id: str | None = None,
    roi: Sequence[int] | None = None,
) -> QuerySet[Provenance]:
    """Return what earlier requests (of a function) added to the annotations that a shard writes.

    With a ``roi`` these are only requests on the same region: a function that gets another
    region cannot find their objects again.
    """
    found: QuerySet[Provenance] = Provenance.objects.filter(task_id=task.id).exclude(
        request_id=shard.request_id
    )
    if function_id is not None:
        found = found.filter(request__function_id=function_id)
        if roi is not None:
            found = found.filter(request__params__roi=list(roi))
    private = [job.id for job in task.jobs if job.type != "annotation"]
    if shard.private_annotations:
        found = found.filter(job_id=shard.job_id)
    elif private:
        # In SQL, NOT IN is not true for NULL.
        found = found.filter(Q(job_id=None) | ~Q(job_id__in=private))
    return found
