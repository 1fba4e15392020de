"""Turn what a tracker found on each frame into tracks, or into masks, and write them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from django.db.models import F

from cvat_lambda.annotations.contours import largest_polygon
from cvat_lambda.annotations.fingerprint import fingerprint
from cvat_lambda.annotations.rle import decode
from cvat_lambda.annotations.types import LabeledData, Shape, Track
from cvat_lambda.engine.port import Change, Removal
from cvat_lambda.requests.run import merged_rectangles
from cvat_lambda.requests.run.link import link_tracks
from cvat_lambda.requests.run.provenance import (
    MADE,
    Made,
    forget_removed,
    split_edited,
    stored_fingerprints,
)
from cvat_lambda.requests.run.shard_context import ShardRun
from cvat_lambda.requests.run.track_objects import (
    SeenShape,
    TrackedObject,
    build_track,
    continued_track,
    keyframe_of,
)
from cvat_lambda.requests.run.writer import record_provenance
from cvat_lambda.requests.store.models import (
    FrameStatus,
    ObjectKind,
    Outcome,
    Provenance,
    Request,
)
from cvat_lambda.requests.store.tracking import Tracking

Found = Mapping[int, SeenShape | None]  # the shapes of one object by frame; None: lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The annotations of one object, and what they replace."""

    track: Track | None = None
    masks: tuple[Shape, ...] = ()
    replaced_shape: Shape | None = None  # its start
    continued: Track | None = None  # the track that `track` continues
    whole: Track | None = None  # both together


class TrackWriter:
    """Builds the results of a shard's objects, and writes them."""

    def __init__(
        self,
        run: ShardRun,
        tracking: Tracking,
        objects: Sequence[TrackedObject],
        *,
        frames: Sequence[int],
        last_visited: int | None,
    ) -> None:
        self._run = run
        self._tracking = tracking
        self._objects = objects
        self._frames = frames  # of the shard, ascending
        self._mutable = run.mutable_attribute_ids
        # The frame that closes the tracks; None if they were followed to the last frame.
        self._end = None if last_visited is None else run.frame_after(last_visited)
        self._results: list[Result] = []

    def build(self, check: Callable[[], None]) -> None:
        """Build the results from the outcomes. ``check`` raises if the run must stop."""
        outcomes = Outcome.objects.filter(shard=self._run.shard, status=FrameStatus.DONE)
        found: list[dict[int, SeenShape | None]] = [{} for _ in self._objects]
        for frame, stored in outcomes.values_list("frame", "result").iterator():
            check()
            for number, shape in ((stored or {}).get("objects") or {}).items():
                hidden = shape is None or self._objects[int(number)].is_hidden(frame)
                found[int(number)][frame] = None if hidden else SeenShape.from_json([frame, *shape])
        continued = self._continued()
        results = [
            self._result(tracked, shapes, continued)
            for tracked, shapes in zip(self._objects, found, strict=True)
            if self._is_track(tracked, shapes)
        ]
        self._results = self._grouped(self._linked(results, check))

    def _is_track(self, tracked: TrackedObject, shapes: Found) -> bool:
        """Return whether an object is more than the shape that it started from."""
        found_here = tracked.handed_on or self._tracking.detector is not None
        visible = any(shape is not None for shape in shapes.values())
        return visible and (found_here or len(shapes) > 1)

    def _continued(self) -> dict[int, Track]:
        """Return the tracks to continue by id, also those that this request has replaced before."""
        ids = {tracked.start.id for tracked in self._objects if tracked.continues}
        if not ids:
            return {}
        run = self._run
        tracks = (
            *merged_rectangles.replaced_tracks(run.request.pk),
            *run.engine.tracks(run.task.id, job_id=run.shard.job_id),
        )
        return {track.id: track for track in tracks if track.id is not None and track.id in ids}

    def _result(
        self, tracked: TrackedObject, found: Found, continued: Mapping[int, Track]
    ) -> Result:
        start = tracked.start
        has_id = start.id is not None
        if self._tracking.mask_output == "masks" and _is_masked(found.values()):
            return Result(
                masks=tuple(_mask(start, shape) for shape in found.values() if _is_mask(shape)),
                replaced_shape=start if has_id and not tracked.continues else None,
            )
        new = build_track(
            start,
            {
                frame: None
                if shape is None
                else keyframe_of(
                    start,
                    frame=frame,
                    type=shape.type,
                    points=shape.points,
                    mutable=self._mutable,
                )
                for frame, shape in _of_one_type(found).items()
            },
            frames=self._frames,
            end=self._end,
            mutable=self._mutable,
            tolerance_px=self._tracking.tolerance_px,
        )
        old = continued.get(start.id) if tracked.continues and start.id is not None else None
        if old is not None and old.shapes and old.shapes[0].type == new.shapes[0].type:
            last = self._frames[-1]
            whole = continued_track(
                old, new, last_frame=last, resumes_on=self._run.frame_after(last)
            )
            return Result(track=new, continued=old, whole=whole)
        return Result(track=new, replaced_shape=start if has_id and not tracked.continues else None)

    def _linked(self, results: list[Result], check: Callable[[], None]) -> list[Result]:
        """Join the tracks of new objects over gaps, if the request says so."""
        free = [r for r in results if r.track is not None and r.continued is None]
        if self._run.params.link is None or len(free) < 2:
            return results
        tracks = [r.track for r in free if r.track is not None]
        chains = link_tracks(self._run, tracks, check=check)
        joined = [replace(free[chain.indices[0]], track=chain.track) for chain in chains]
        # The start shapes of all tracks of a chain are replaced.
        extra = [
            Result(replaced_shape=free[index].replaced_shape)
            for chain in chains
            for index in chain.indices[1:]
            if free[index].replaced_shape is not None
        ]
        kept = [r for r in results if r.track is None or r.continued is not None]
        return [*kept, *joined, *extra]

    def _grouped(self, results: list[Result]) -> list[Result]:
        """Give the masks of each object a group of their own."""
        if not any(result.masks for result in results):
            return results
        data = self._run.engine.annotations(self._run.task.id, job_id=self._run.shard.job_id)
        group = max(
            (item.group for items in (data.shapes, data.tags, data.tracks) for item in items),
            default=0,
        )
        grouped = []
        for result in results:
            if result.masks and not result.masks[0].group:
                group += 1
                result = replace(
                    result, masks=tuple(replace(mask, group=group) for mask in result.masks)
                )
            grouped.append(result)
        return grouped

    def write(self) -> int:
        """Write the results in a transaction, and remove what they replace.

        Return the number of annotations. What somebody edited or deleted meanwhile stays as it is.
        What this request wrote before for the same frames, if it was retried, is replaced.
        """
        run = self._run
        earlier = self._earlier()
        if not self._results and not earlier.track_ids and not earlier.shape_ids:
            return 0
        before = merged_rectangles.replaced_keys(run.request.pk)
        unchanged = self._lock_unchanged()
        tracks: list[Track] = []
        replaced: list[tuple[Shape | Track, int | None]] = []  # with the index of its track
        for result in self._results:
            old, shape, index = result.continued, result.replaced_shape, None
            key = (ObjectKind.TRACK, 0 if old is None else old.id or 0)
            usable = old is not None and (key in unchanged or key in before)
            if result.track is not None:
                index = len(tracks)
                tracks.append(result.whole if usable and result.whole else result.track)
            if old is not None and usable:
                replaced.append((old, index))
            if shape is not None:
                key = (ObjectKind.SHAPE, shape.id or 0)
                if key in unchanged or key in before:
                    replaced.append((shape, index))
        masks = tuple(mask for result in self._results for mask in result.masks)
        added = LabeledData(tracks=tuple(tracks), shapes=masks)
        written = run.engine.apply(
            Change(
                task_id=run.task.id,
                job_id=run.shard.job_id,
                frames=tuple(sorted({tracked.start.frame for tracked in self._objects})),
                remove=Removal(
                    policy="ids",
                    shape_ids=[*earlier.shape_ids, *_ids(unchanged, ObjectKind.SHAPE)],
                    track_ids=[*earlier.track_ids, *_ids(unchanged, ObjectKind.TRACK)],
                ),
                add=added,
                user_id=run.request.owner_id,
            )
        )
        forget_removed(written)
        merged_rectangles.remember(
            run,
            [
                (item, None if index is None else written.track_ids[index][0])
                for item, index in replaced
            ],
        )
        record_provenance(run, added, written)
        count = len(tracks) + len(masks)
        gone = len(earlier.shape_ids) + len(earlier.track_ids)
        Request.objects.filter(pk=run.request.pk).update(shapes=F("shapes") + count - gone)
        return count

    def _earlier(self) -> Removal:
        """Lock what this request wrote before and nobody has edited since."""
        run = self._run
        made = Provenance.objects.filter(
            request=run.request, task_id=run.task.id, job_id=run.shard.job_id
        )
        if run.shard.job_id is None:
            made = made.filter(frame__gte=self._frames[0], frame__lte=self._frames[-1])
        rows = [Made(*row) for row in made.values_list(*MADE)]
        unedited, _ = split_edited(run.engine, run.task.id, rows)
        return unedited

    def _lock_unchanged(self) -> set[tuple[str, int]]:
        """Lock what is replaced; return the keys of what nobody has edited or deleted."""
        items: list[tuple[str, Shape | Track | None]] = [
            *((ObjectKind.SHAPE, result.replaced_shape) for result in self._results),
            *((ObjectKind.TRACK, result.continued) for result in self._results),
        ]
        known = {
            (kind, item.id): fingerprint(item)
            for kind, item in items
            if item is not None and item.id is not None
        }
        stored = stored_fingerprints(self._run.engine, self._run.task.id, known)
        return {key for key, value in known.items() if stored.get(key) == value}


def _ids(keys: Iterable[tuple[str, int]], kind: str) -> list[int]:
    return sorted(object_id for found, object_id in keys if found == kind)


def _is_mask(shape: SeenShape | None) -> bool:
    return shape is not None and shape.type == "mask"


def _is_masked(shapes: Iterable[SeenShape | None]) -> bool:
    return any(_is_mask(shape) for shape in shapes)


def _mask(start: Shape, shape: SeenShape | None) -> Shape:
    assert shape is not None  # only masks are given
    return Shape(
        type="mask",
        frame=shape.frame,
        label_id=start.label_id,
        points=shape.points,
        z_order=start.z_order,
        group=start.group,
        source="auto",
        attributes=start.attributes,
        score=start.score,
    )


def _of_one_type(found: Found) -> dict[int, SeenShape | None]:
    """Return the shapes with masks as polygons, without those of another type than most."""
    shapes = {frame: _polygon(shape) for frame, shape in found.items()}
    types = [shape.type for shape in shapes.values() if shape is not None]
    usual = max(set(types), key=types.count, default="rectangle")
    return {frame: shape for frame, shape in shapes.items() if shape is None or shape.type == usual}


def _polygon(shape: SeenShape | None) -> SeenShape | None:
    """Return the outline of a mask; other shapes as they are."""
    if shape is None or shape.type != "mask":
        return shape
    points = largest_polygon(*decode(shape.points))
    return None if points is None else replace(shape, type="polygon", points=points)
