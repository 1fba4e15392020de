"""The shapes of tracks on some frames, read without the keyframes that these frames do not need."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from django.db.models import Case, OuterRef, Q, Subquery, When

from cvat_lambda.annotations.tracks import shapes_on_frame
from cvat_lambda.annotations.types import Shape, Track
from cvat_lambda.engine.ids_subquery import ids_subquery
from cvat_lambda.engine.port import Task
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.reading import build_tracks
from cvat_lambda.engine.standalone.scope import AnnotationScope, frame_conditions


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackOnFrame:
    """The shape of a track on one frame."""

    shape: Shape  # with the id of its track
    is_keyframe: bool  # whether the track has a keyframe on this frame


def tracks_on_frames(task: Task, numbers: Collection[int]) -> dict[int, list[TrackOnFrame]]:
    """Return for each frame the tracks that are visible on it.

    A track may be visible far from its keyframes, but only in the frames of its own jobs. These are
    the jobs that have a frame on which the track or one of its elements has a keyframe.
    """
    found: dict[int, dict[int | None, TrackOnFrame]] = {number: {} for number in numbers}
    for job in task.jobs:
        shown = [number for number in numbers if number in job.frames]
        if not shown or job.type != "annotation":
            continue
        tracks = _read(AnnotationScope(task_id=task.id, frames=job.frames), shown)
        keys = {(track.id, key.frame) for track in tracks for key in track.shapes}
        for number in shown:
            for shape in shapes_on_frame(number, tracks):
                found[number][shape.id] = TrackOnFrame(
                    shape=shape, is_keyframe=(shape.id, number) in keys
                )
    return {number: list(tracks.values()) for number, tracks in found.items()}


def _read(scope: AnnotationScope, frames: Collection[int]) -> tuple[Track, ...]:
    """Return the tracks that are visible on one of the frames, with the keyframes that matter.

    These are the keyframes among the frames, the last one before and the first one after them.
    """
    first, last = min(frames), max(frames)
    keys = models.TrackedShape.objects.filter(track=OuterRef("pk"))
    before = keys.filter(frame__lte=first).order_by("-frame", "-id")
    after = keys.filter(frame__gt=last).order_by("frame", "id")
    tracks = models.LabeledTrack.objects.annotate(
        key_before=Subquery(before.values("pk")[:1]), key_after=Subquery(after.values("pk")[:1])
    )
    between = Q(frame__gt=first, frame__lte=last)
    # One scalar subquery for each track: PostgreSQL would read all keyframes of the table for an
    # EXISTS. A track that ends among the frames may be visible before.
    may_show = Case(When(Q(outside=False) | Q(frame__gt=first), then=True), default=False)
    latest = keys.filter(frame__lte=last).order_by("-frame", "-id").annotate(may_show=may_show)
    visible = tracks.alias(may_show=Subquery(latest.values("may_show")[:1])).filter(
        scope.condition(), may_show=True, parent=None
    )
    rows: list[Any] = list(visible)
    known = _with_keyframe(scope, [row.pk for row in rows])
    rows = [row for row in rows if row.pk in known]
    rows += tracks.filter(parent__in=ids_subquery([row.pk for row in rows]))
    near = [pk for row in rows for pk in (row.key_before, row.key_after) if pk is not None]
    found = list(models.TrackedShape.objects.filter(pk__in=ids_subquery(near)))
    if first < last:
        of_rows = models.TrackedShape.objects.filter(
            between, track__in=ids_subquery([row.pk for row in rows])
        )
        found += of_rows
    by_track: dict[int, list[models.TrackedShape]] = defaultdict(list)
    for key in sorted(found, key=attrgetter("frame", "pk")):
        by_track[key.track_id].append(key)
    return build_tracks(rows, by_track)


def _with_keyframe(scope: AnnotationScope, track_ids: Collection[int]) -> set[int]:
    """Return the tracks of which they or one of their elements have a keyframe in the scope."""
    found: set[int] = set()
    ids = ids_subquery(track_ids)
    for condition in frame_conditions(scope.frames):
        keys = models.TrackedShape.objects.filter(condition).order_by()
        own = keys.filter(track__in=ids).values_list("track_id", flat=True)
        of_elements = keys.filter(track__parent__in=ids).values_list("track__parent_id", flat=True)
        found.update(own.distinct())
        found.update(pk for pk in of_elements.distinct() if pk is not None)
    return found
