"""Changes of annotations through the REST API: replace, create, update, delete.

Each change is one transaction on a task or on one of its jobs.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator
from dataclasses import replace

from django.db import transaction

from cvat_lambda.annotations.types import AttributeValue, Label, LabeledData, Shape, Tag, Track
from cvat_lambda.engine.port import Change, Removal, Written
from cvat_lambda.engine.standalone import intervals, models, reading, writing
from cvat_lambda.engine.standalone.labels import label_tree
from cvat_lambda.engine.standalone.scope import (
    AnnotationScope,
    Row,
    frame_conditions,
    parameter_batches,
    scope_of,
)
from cvat_lambda.errors import InvalidRequest

_Specs = dict[int, frozenset[int]]


class Editor:
    """Changes the annotations of one task, or of one of its jobs."""

    def __init__(self, task: models.Task, job: models.Job | None, *, user_id: int | None) -> None:
        self._task = task
        self._job = job
        self._user_id = user_id

    def read(self) -> LabeledData:
        """Return all annotations of the scope."""
        data = reading.read(self._scope())
        return replace(data, intervals=intervals.read(self._task.pk, self._job_id))

    def replace(self, data: LabeledData) -> LabeledData:
        """Replace all annotations of the scope. Raise InvalidRequest."""
        self._check(data)
        with transaction.atomic():
            writing.lock(self._task.pk)
            scope = self._scope()
            tracks = reading.track_ids_on(scope, scope.frames)
            self._apply(Removal(policy="all"), data)
            self._apply(Removal(policy="ids", track_ids=tracks), LabeledData())
            intervals.rows(self._task.pk, self._job_id).delete()
            intervals.add(self._task.pk, self._job_id, data.intervals)
        return self.read()

    def create(self, data: LabeledData) -> LabeledData:
        """Add annotations; return them with ids. Raise InvalidRequest."""
        self._check(data)
        with transaction.atomic():
            written = self._apply(Removal(), data)
            kept = intervals.add(self._task.pk, self._job_id, data.intervals)
        return replace(self._written(written), intervals=kept)

    def update(self, data: LabeledData) -> LabeledData:
        """Replace the annotations that have the same ids. The new ones get new ids.

        Raise InvalidRequest.
        """
        self._check(data)
        with transaction.atomic():
            written = self._apply(self._named(data), data)
            intervals.remove(self._task.pk, self._job_id, data.intervals)
            kept = intervals.add(self._task.pk, self._job_id, data.intervals)
        return replace(self._written(written), intervals=kept)

    def delete(self, data: LabeledData) -> LabeledData:
        """Remove the annotations with these ids. Ids that do not exist are ignored."""
        with transaction.atomic():
            self._apply(self._named(data), LabeledData())
            intervals.remove(self._task.pk, self._job_id, data.intervals)
        return data

    def clear(self) -> None:
        """Remove all annotations of the scope."""
        self.replace(LabeledData())

    def _named(self, data: LabeledData) -> Removal:
        """Return the removal of these annotations. In a job, select only those on its frames."""
        shapes, tags, tracks = _ids(data.shapes), _ids(data.tags), _ids(data.tracks)
        scope = self._scope()
        if scope.frames is not None:
            shapes = _on_frames(models.LabeledShape, shapes, scope)
            tags = _on_frames(models.LabeledTag, tags, scope)
            shown = set(reading.track_ids_on(scope, scope.frames)) if tracks else set()
            tracks = [pk for pk in tracks if pk in shown]
        return Removal(policy="ids", shape_ids=shapes, tag_ids=tags, track_ids=tracks)

    def _scope(self) -> AnnotationScope:
        return scope_of(self._task.pk, self._job_id)

    @property
    def _job_id(self) -> int | None:
        return self._job.pk if self._job is not None else None

    def _apply(self, removal: Removal, data: LabeledData) -> Written:
        change = Change(
            task_id=self._task.pk,
            job_id=self._job_id,
            frames=tuple(self._frames()) if removal.policy == "all" else (),
            remove=removal,
            add=data,
            user_id=self._user_id,
        )
        return writing.apply(change)

    def _frames(self) -> range:
        data = getattr(self._task, "data", None)
        return range(data.size if data is not None else 0)

    def _written(self, written: Written) -> LabeledData:
        return reading.read_ids(
            self._task.pk,
            shape_ids=[pk for ids in written.shape_ids for pk in ids],
            tag_ids=[pk for ids in written.tag_ids for pk in ids],
            track_ids=[pk for ids in written.track_ids for pk in ids],
        )

    def _check(self, data: LabeledData) -> None:
        """Raise InvalidRequest for a frame, label or attribute outside the scope."""
        if not data:
            return
        scope = self._scope()
        task_frames = self._frames()
        mine: Container[int] = task_frames if scope.frames is None else scope.frames
        if not isinstance(mine, range):
            mine = frozenset(scope.frames or ())
        placed: tuple[Shape | Tag, ...] = (*data.tags, *data.shapes)
        for item in placed:
            if item.frame not in mine:
                raise InvalidRequest(f"frame {item.frame} is not one of the frames to annotate")
        for track in data.tracks:
            _check_track(track, task_frames, mine)
        _check_attributes(data, _specs(label_tree(self._task.pk, self._task.project_id)))


def _ids(items: Iterable[Shape | Tag | Track]) -> list[int]:
    return [item.id for item in items if item.id is not None]


def _on_frames(table: type[Row], ids: Collection[int], scope: AnnotationScope) -> list[int]:
    """Return the ids of annotations on the scope's frames."""
    found: list[int] = []
    for some in parameter_batches(ids):
        for condition in frame_conditions(scope.frames):
            found += scope.rows(table).filter(condition, pk__in=some).values_list("pk", flat=True)
    return found


def _key_frames(track: Track) -> Iterator[int]:
    yield from (shape.frame for shape in track.shapes)
    for element in track.elements:
        yield from (shape.frame for shape in element.shapes)


def _check_track(track: Track, task_frames: range, mine: Container[int]) -> None:
    keys = list(_key_frames(track))
    if not keys:
        raise InvalidRequest("a track needs at least one shape")
    for frame in (track.frame, *keys, *(element.frame for element in track.elements)):
        if frame not in task_frames:
            raise InvalidRequest(f"frame {frame} of a track is not in the task")
    if not any(frame in mine for frame in keys):
        raise InvalidRequest(
            f"the track from frame {track.frame} has no keyframe on the frames to annotate"
        )


def _specs(labels: tuple[Label, ...]) -> _Specs:
    """Return the attribute ids by label id, including sublabels."""
    found: _Specs = {}
    for label in labels:
        for each in (label, *label.sublabels):
            ids = frozenset(item.id for item in each.attributes if item.id is not None)
            found[each.id or 0] = ids
    return found


def _check_attributes(data: LabeledData, specs: _Specs) -> None:
    items: tuple[Shape | Tag | Track, ...] = (*data.tags, *data.shapes, *data.tracks)
    for item in items:
        family: tuple[Shape | Tag | Track, ...] = (item,)
        if not isinstance(item, Tag):
            family += item.elements
        for each in family:
            if each.label_id not in specs:
                raise InvalidRequest(f"label #{each.label_id} is not a label of this task")
            for value in _values(each):
                if value.spec_id not in specs[each.label_id]:
                    raise InvalidRequest(
                        f"attribute #{value.spec_id} is not one of label #{each.label_id}"
                    )


def _values(item: Shape | Tag | Track) -> Iterator[AttributeValue]:
    yield from item.attributes
    if isinstance(item, Track):
        for shape in item.shapes:
            yield from shape.attributes
