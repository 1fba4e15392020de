"""The objects that a track request follows: where they start, the order of frames, their tracks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cvat_lambda.annotations.keyframes import thin_keyframes
from cvat_lambda.annotations.rle import decode
from cvat_lambda.annotations.serialize import labeled_data_from_json, shape_to_json
from cvat_lambda.annotations.shapes import extent
from cvat_lambda.annotations.tracks import shapes_on_frame
from cvat_lambda.annotations.types import AttributeValue, Shape, ShapeType, Track, TrackedShape
from cvat_lambda.engine.port import Engine, Task
from cvat_lambda.requests.store.tracking import StartFilter, Tracking


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """An object to track, on its first frame."""

    shape: Shape  # with the id of the shape or track that it is
    continues: bool = False  # it is a position of the track with this id


def start_objects(
    engine: Engine,
    task: Task,
    tracking: Tracking,
    *,
    shape_types: Collection[str],
    job_id: int | None,
    frames: Sequence[int],
) -> tuple[Start, ...]:
    """Return the objects to track in ``frames``, which ascend; none if a detector finds them."""
    if tracking.start is None:
        named = frozenset(frames)
        return tuple(
            Start(
                shape=Shape(
                    type=shape.type,
                    frame=shape.frame,
                    label_id=shape.label_id or 0,  # `check_tracking` has looked it up
                    points=shape.points,
                    attributes=tuple(
                        AttributeValue(spec_id=spec_id, value=value)
                        for spec_id, value in shape.attributes
                    ),
                )
            )
            for shape in tracking.shapes
            if shape.frame in named
        )
    if not isinstance(tracking.start, StartFilter):
        return ()
    frame = start_frame(tracking.start.frame, frames, backward=tracking.direction == "backward")
    if frame is None:
        return ()
    start = tracking.start
    shapes = [
        shape
        for shape in engine.annotations(task.id, job_id=job_id, frames=[frame]).shapes
        if shape.frame == frame
    ]
    # `annotations` has only tracks with a keyframe on the frame.
    moving = shapes_on_frame(frame, engine.tracks(task.id, job_id=job_id))
    return (
        *(Start(shape=shape) for shape in shapes if _selects(start, shape, shape_types)),
        *(
            Start(shape=shape, continues=True)
            for shape in moving
            if _selects(start, shape, shape_types)
        ),
    )


def start_frame(wanted: int | None, frames: Sequence[int], *, backward: bool) -> int | None:
    """Return the frame to start from; None if it is not one of ``frames``."""
    if wanted is not None:
        return wanted if wanted in frames else None
    if not frames:
        return None
    return frames[-1] if backward else frames[0]


def _selects(start: StartFilter, shape: Shape, shape_types: Collection[str]) -> bool:
    return (
        shape.type in shape_types
        and not shape.rotation
        and not shape.outside
        and (start.label_ids is None or shape.label_id in start.label_ids)
        and (start.sources is None or shape.source in start.sources)
        and (start.ids is None or shape.id in start.ids)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One step of the tracker to a frame. The steps of a leg have one direction."""

    frame: int
    leg: int  # 0, or 1 for the backward leg of direction "both"
    backward: bool
    detects: bool = False  # the detector finds new objects here


def plan_visits(
    tracking: Tracking, frames: Sequence[int], starts: Iterable[int]
) -> tuple[Visit, ...]:
    """Return the frames to visit in the tracker's order.

    ``starts`` are the frames on which objects start. A detector starts on the first frame.
    """
    detector = tracking.detector
    named = sorted(starts)
    if detector is not None:
        ordered = list(reversed(frames)) if tracking.direction == "backward" else list(frames)
        return tuple(
            Visit(
                frame=frame,
                leg=0,
                backward=tracking.direction == "backward",
                detects=index % detector.every == 0,
            )
            for index, frame in enumerate(ordered)
        )
    if not named:
        return ()
    first, last = named[0], named[-1]
    if tracking.direction == "backward":
        return tuple(Visit(frame=f, leg=0, backward=True) for f in reversed(frames) if f <= last)
    ahead = [Visit(frame=f, leg=0, backward=False) for f in frames if f >= first]
    if tracking.direction == "forward":
        return tuple(ahead)
    return (*ahead, *(Visit(frame=f, leg=1, backward=True) for f in reversed(frames) if f < first))


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenShape:
    """Where an object was on a frame."""

    frame: int
    type: ShapeType
    points: tuple[float, ...]

    def to_json(self) -> list[Any]:
        """Return ``[frame, type, points]``; the inverse of `from_json`."""
        return [self.frame, self.type, list(self.points)]

    @classmethod
    def from_json(cls, stored: Sequence[Any]) -> SeenShape:
        """Return a stored shape."""
        frame, shape_type, points = stored
        return cls(frame=frame, type=shape_type, points=tuple(points))

    @classmethod
    def of(cls, shape: Shape) -> SeenShape:
        """Return where a shape is."""
        return cls(frame=shape.frame, type=shape.type, points=shape.points)


@dataclass(slots=True, kw_only=True)
class TrackedObject:
    """A tracked object and its state."""

    start: Shape
    continues: bool = False  # as in `Start`
    seen: SeenShape  # the last known shape
    state: Any = None  # the function's JSON after the frame visited last; None: not started
    start_state: Any = None  # after the start frame, where a second leg begins
    lost: bool = False
    handed_on: bool = False  # from the shard before, with its state
    misses: int = 0  # detections in a row that did not find it
    missed_from: int | None = None  # the frame of the first of them
    hidden: list[tuple[int, int]] = field(default_factory=list)  # ranges where it was not there

    @classmethod
    def of(cls, start: Start) -> TrackedObject:
        """Return an object that has not started yet."""
        return cls(start=start.shape, continues=start.continues, seen=SeenShape.of(start.shape))

    def copy(self) -> TrackedObject:
        """Return a copy that can change; `dataclasses.replace` takes three times as long."""
        return TrackedObject(
            start=self.start,
            continues=self.continues,
            seen=self.seen,
            state=self.state,
            start_state=self.start_state,
            lost=self.lost,
            handed_on=self.handed_on,
            misses=self.misses,
            missed_from=self.missed_from,
            hidden=[*self.hidden],
        )

    def begin_leg(self) -> None:
        """Go back to the start frame."""
        self.state, self.lost, self.seen = self.start_state, False, SeenShape.of(self.start)

    def is_hidden(self, frame: int) -> bool:
        """Return whether the detector said that the object was not on this frame."""
        return any(first <= frame <= last for first, last in self.hidden)

    def to_json(self) -> dict[str, Any]:
        """Return the object as JSON for a checkpoint; the inverse of `from_json`."""
        return {
            "start": shape_to_json(self.start),
            "continues": self.continues,
            "seen": self.seen.to_json(),
            "state": self.state,
            "start_state": self.start_state,
            "lost": self.lost,
            "handed_on": self.handed_on,
            "misses": self.misses,
            "missed_from": self.missed_from,
            "hidden": [list(pair) for pair in self.hidden],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> TrackedObject:
        """Return an object of a checkpoint."""
        data = labeled_data_from_json({"tags": [], "shapes": [stored["start"]], "tracks": []})
        start = data.shapes[0]
        seen = stored.get("seen")  # not in checkpoints of older versions
        return cls(
            start=start,
            continues=stored.get("continues", False),
            seen=SeenShape.of(start) if seen is None else SeenShape.from_json(seen),
            state=stored["state"],
            start_state=stored["start_state"],
            lost=stored["lost"],
            handed_on=stored.get("handed_on", False),
            misses=stored.get("misses", 0),
            missed_from=stored.get("missed_from"),
            hidden=[(first, last) for first, last in stored.get("hidden", ())],
        )


def box_of(shape: SeenShape) -> tuple[float, float, float, float]:
    """Return the bounding box of a shape in pixels, ends exclusive."""
    if shape.type == "mask":
        bitmap, left, top = decode(shape.points)
        return left, top, left + bitmap.shape[1], top + bitmap.shape[0]
    return extent(shape.points)


def build_track(
    start: Shape,
    found: Mapping[int, TrackedShape | None],
    *,
    frames: Sequence[int],
    end: int | None,
    mutable: Collection[int],
    tolerance_px: float,
) -> Track:
    """Return the track of an object.

    ``found`` are its shapes by frame, None where it was lost; frames that are missing in it are
    interpolated. ``frames`` are those of the shard, ascending. ``end`` is the frame on which the
    track is closed; None if it may last until its job ends.
    """
    keys: list[TrackedShape] = []
    for frame in frames:
        shape = found.get(frame)
        if shape is not None:
            keys.append(shape)
        elif frame in found and keys and not keys[-1].outside:
            keys.append(replace(keys[-1], frame=frame, outside=True))
    if end is not None and keys and not keys[-1].outside:
        keys.append(replace(keys[-1], frame=end, outside=True))
    return Track(
        frame=keys[0].frame,
        label_id=start.label_id,
        shapes=thin_keyframes(keys, tolerance_px=tolerance_px),
        group=start.group,
        source="auto",
        attributes=tuple(a for a in start.attributes if a.spec_id not in mutable),
        score=start.score,
    )


def continued_track(track: Track, new: Track, *, last_frame: int, resumes_on: int | None) -> Track:
    """Return a track whose keyframes are replaced from the start of ``new`` to ``last_frame``.

    Its keyframes before and after stay as they are. ``resumes_on`` is the next frame that is not
    deleted: there the track is again where it was before. It has its own attributes and its own
    source, but a manual one becomes semi-automatic.
    """
    before = [key for key in track.shapes if key.frame < new.frame]
    after = [key for key in track.shapes if key.frame > last_frame]
    resumed: list[TrackedShape] = []
    there = () if resumes_on is None else shapes_on_frame(resumes_on, [track])
    if after and there and resumes_on is not None and after[0].frame > resumes_on:
        model = max(
            (key for key in track.shapes if key.frame <= last_frame), key=lambda key: key.frame
        )
        resumed = [
            replace(
                model,
                id=None,
                frame=resumes_on,
                points=there[0].points,
                rotation=there[0].rotation,
            )
        ]
    kept = [key for key in new.shapes if key.frame <= last_frame or not after]
    return replace(
        track,
        id=None,
        frame=(before[0] if before else new.shapes[0]).frame,
        shapes=(
            *(replace(key, id=None) for key in before),
            *kept,
            *resumed,
            *(replace(key, id=None) for key in after),
        ),
        source="semi-auto" if track.source in ("manual", "semi-auto") else track.source,
    )


def keyframe_of(
    start: Shape, *, frame: int, type: str, points: Iterable[float], mutable: Collection[int]
) -> TrackedShape:
    """Return a shape of a track with the mutable attributes of its object."""
    return TrackedShape(
        type=type,  # type: ignore[arg-type]  # the answer was checked
        frame=frame,
        points=tuple(points),
        occluded=start.occluded if frame == start.frame else False,
        z_order=start.z_order,
        attributes=tuple(a for a in start.attributes if a.spec_id in mutable),
    )
