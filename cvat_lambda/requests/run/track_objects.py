"""The objects that a track request follows: start shapes, the order of frames, and tracks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cvat_lambda.annotations.keyframes import thin_keyframes
from cvat_lambda.annotations.serialize import labeled_data_from_json, shape_to_json
from cvat_lambda.annotations.types import AttributeValue, Shape, Track, TrackedShape
from cvat_lambda.engine.port import Engine, Task
from cvat_lambda.requests.store.tracking import StartFilter, Tracking


def start_shapes(
    engine: Engine,
    task: Task,
    tracking: Tracking,
    *,
    shape_types: Collection[str],
    job_id: int | None,
    frames: Sequence[int],
) -> tuple[Shape, ...]:
    """Return the objects to track in ``frames``, which ascend. Annotations keep their ids."""
    if tracking.start is None:
        named = frozenset(frames)
        return tuple(
            Shape(
                type=shape.type,
                frame=shape.frame,
                label_id=shape.label_id or 0,  # `check_tracking` has looked it up
                points=shape.points,
                attributes=tuple(
                    AttributeValue(spec_id=spec_id, value=value)
                    for spec_id, value in shape.attributes
                ),
            )
            for shape in tracking.shapes
            if shape.frame in named
        )
    frame = start_frame(tracking.start, frames, backward=tracking.direction == "backward")
    if frame is None:
        return ()
    data = engine.annotations(task.id, job_id=job_id, frames=[frame])
    return tuple(
        shape
        for shape in data.shapes
        if shape.frame == frame
        and shape.type in shape_types
        and not shape.rotation
        and not shape.outside
        and _selects(tracking.start, shape)
    )


def start_frame(start: StartFilter, frames: Sequence[int], *, backward: bool) -> int | None:
    """Return the frame whose annotations are tracked; None if it is not one of ``frames``."""
    if start.frame is not None:
        return start.frame if start.frame in frames else None
    if not frames:
        return None
    return frames[-1] if backward else frames[0]


def _selects(start: StartFilter, shape: Shape) -> bool:
    return (
        (start.label_ids is None or shape.label_id in start.label_ids)
        and (start.sources is None or shape.source in start.sources)
        and (start.ids is None or shape.id in start.ids)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One step of the tracker to a frame. The steps of a leg have one direction."""

    frame: int
    leg: int  # 0, or 1 for the backward leg of direction "both"
    backward: bool


def plan_visits(
    tracking: Tracking, frames: Sequence[int], starts: Sequence[Shape]
) -> tuple[Visit, ...]:
    """Return the frames to visit, from the start frame on, in the tracker's order."""
    if not starts:
        return ()
    first, last = min(s.frame for s in starts), max(s.frame for s in starts)
    if tracking.direction == "backward":
        return tuple(Visit(frame=f, leg=0, backward=True) for f in reversed(frames) if f <= last)
    ahead = [Visit(frame=f, leg=0, backward=False) for f in frames if f >= first]
    if tracking.direction == "forward":
        return tuple(ahead)
    return (*ahead, *(Visit(frame=f, leg=1, backward=True) for f in reversed(frames) if f < first))


@dataclass(slots=True, kw_only=True)
class TrackedObject:
    """A tracked object and its state."""

    start: Shape
    state: Any = None  # the function's JSON after the frame visited last; None: not started
    start_state: Any = None  # after the start frame, where a second leg begins
    lost: bool = False

    def begin_leg(self) -> None:
        """Go back to the start frame."""
        self.state, self.lost = self.start_state, False

    def to_json(self) -> dict[str, Any]:
        """Return the object as JSON for a checkpoint; the inverse of `from_json`."""
        return {
            "start": shape_to_json(self.start),
            "state": self.state,
            "start_state": self.start_state,
            "lost": self.lost,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> TrackedObject:
        """Return an object of a checkpoint."""
        data = labeled_data_from_json({"tags": [], "shapes": [stored["start"]], "tracks": []})
        return cls(
            start=data.shapes[0],
            state=stored["state"],
            start_state=stored["start_state"],
            lost=stored["lost"],
        )


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
