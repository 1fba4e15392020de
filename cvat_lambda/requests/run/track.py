"""Run a tracker: follow objects from a start frame through the frames, and write them as tracks.

The frames are visited one after the other, since a tracker needs the states that it returned for
the previous frame. The shapes of a frame are stored in its outcome, the states in the checkpoint.
When the shard ends, the shapes become tracks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Final

from django.db.models import F

from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.annotations.fingerprint import fingerprint
from cvat_lambda.annotations.tracker_answer import check_tracker_answer
from cvat_lambda.annotations.types import LabeledData, Shape, Track, TrackedShape
from cvat_lambda.engine.port import Change, Frame, Removal, UnreadableFrame
from cvat_lambda.errors import FunctionAnswerInvalid, FunctionFailed, InvalidRequest
from cvat_lambda.gateway.payload import encode_payload
from cvat_lambda.images.decode import image_size
from cvat_lambda.images.resize import resize
from cvat_lambda.requests.run import checkpoint, merged_rectangles
from cvat_lambda.requests.run.provenance import forget_removed, stored_fingerprints
from cvat_lambda.requests.run.results import (
    EncodedUnit,
    FrameResult,
    ReaderItem,
    Unit,
    UnitAnswer,
    Work,
    failed,
)
from cvat_lambda.requests.run.shard_context import ShardRun
from cvat_lambda.requests.run.track_objects import (
    TrackedObject,
    Visit,
    build_track,
    keyframe_of,
    plan_visits,
    start_shapes,
)
from cvat_lambda.requests.run.writer import record_provenance
from cvat_lambda.requests.store import ranges
from cvat_lambda.requests.store.models import FrameStatus, ObjectKind, Outcome, Request
from cvat_lambda.requests.store.tracking import Tracking

# Reasons of skipped frames.
NOT_FOLLOWED: Final = "not_followed"  # no object is tracked to this frame
PASSED: Final = "passed"  # it failed, and the tracker has passed it: a tracker cannot go back
BACKWARD_BLOCK: Final = 16  # frames in memory on a backward leg


class TrackWork(Work):
    """Sends one frame per invocation, with all objects that are tracked on it."""

    sequential = True

    def __init__(self, run: ShardRun) -> None:
        if run.params.tracking is None:
            raise InvalidRequest(f"{run.function_name} is now a tracker: start a new request")
        self._run = run
        self._tracking = Tracking.from_json(run.params.tracking)
        hidden = run.task.deleted_frames
        self._frames = [f for f in ranges.expand(run.shard.frames) if f not in hidden]
        saved = checkpoint.load(run.shard)
        if saved is None:
            self._objects = [TrackedObject(start=shape) for shape in self._start_shapes()]
            self._passed = -1  # index of the visit written last
        else:
            self._objects = [TrackedObject.from_json(row) for row in saved["objects"]]
            self._passed = saved["visit"]
        self._visits = plan_visits(
            self._tracking, self._frames, [tracked.start for tracked in self._objects]
        )
        self._mutable = run.mutable_attribute_ids
        self._tracks: tuple[tuple[Shape, Track], ...] | None = None  # with their start shapes

    def _start_shapes(self) -> tuple[Shape, ...]:
        run = self._run
        return start_shapes(
            run.engine,
            run.task,
            self._tracking,
            shape_types=run.spec.supported_shape_types,
            job_id=run.shard.job_id,
            frames=self._frames,
        )

    def _left(self) -> list[tuple[int, Visit]]:
        """Return the visits that have no outcome yet, with their indices."""
        remaining = set(self._run.frames)
        return [
            (index, visit)
            for index, visit in enumerate(self._visits)
            if index > self._passed and visit.frame in remaining
        ]

    def numbers(self) -> Iterator[int]:
        """Return the frames of the forward leg. `units` itself reads those of the backward leg."""
        return iter([visit.frame for _, visit in self._left() if not visit.backward])

    def units(self, frames: Iterator[Frame | UnreadableFrame]) -> Generator[ReaderItem, None, None]:
        """Yield the frames in the order of the visits; other frames are skipped."""
        left = self._left()
        yield from self._unvisited({visit.frame for _, visit in left})
        ahead = [(index, visit) for index, visit in left if not visit.backward]
        behind = [(index, visit) for index, visit in left if visit.backward]
        for (index, _), frame in zip(ahead, frames, strict=True) if ahead else ():
            yield _unit(index, frame)
        for (index, _), frame in zip(behind, self._descending(behind), strict=True):
            yield _unit(index, frame)

    def _unvisited(self, visited: set[int]) -> Iterator[FrameResult]:
        passed = {visit.frame for visit in self._visits[: self._passed + 1]}
        for frame in self._run.frames:
            if frame in passed and frame not in visited:
                # A retry: the frame failed, and the objects were tracked past it.
                yield FrameResult(frame=frame, status=FrameStatus.SKIPPED, code=PASSED)
            elif frame not in visited:
                yield FrameResult(frame=frame, status=FrameStatus.SKIPPED, code=NOT_FOLLOWED)

    def _descending(self, visits: Sequence[tuple[int, Visit]]) -> Iterator[Frame | UnreadableFrame]:
        run = self._run
        for first in range(0, len(visits), BACKWARD_BLOCK):
            block = [visit.frame for _, visit in visits[first : first + BACKWARD_BLOCK]]
            ascending = block[::-1]
            read = list(run.engine.frames(run.task.id, ascending, job_id=run.shard.job_id))
            yield from reversed(read)

    def _active(self, index: int) -> list[int]:
        """Return the indices of the objects to send. Raise FunctionFailed if one never started."""
        visit = self._visits[index]
        if index and visit.leg != self._visits[index - 1].leg:
            for tracked in self._objects:
                tracked.begin_leg()
        active = []
        for number, tracked in enumerate(self._objects):
            ahead = visit.frame - tracked.start.frame
            if ahead and (ahead < 0) != visit.backward:
                continue  # it starts later
            if ahead and tracked.state is None and not tracked.lost:
                raise FunctionFailed(
                    f"{self._run.function_name} could not start on frame {tracked.start.frame}, "
                    "so that there is nothing to follow"
                )
            if tracked.state is not None or not ahead:
                active.append(number)
        return active

    def settled(self, unit: Unit) -> list[FrameResult] | None:
        """Return a result without shapes if every object was lost on this leg."""
        index: int = unit.context
        if self._active(index):
            return None
        return [self._result(index, {}, attempts=0, duration_s=None)]

    def prepare(self, unit: Unit) -> EncodedUnit:
        """Send ``image``, ``shapes`` of the objects that start here, ``states`` of the others."""
        image = resize(unit.frames[0].data, self._run.spec, keep_size=True)
        frame = unit.numbers[0]
        shapes: list[Any] = []
        states: list[Any] = []
        for number in self._active(unit.context):
            tracked = self._objects[number]
            starts = tracked.start.frame == frame
            shapes.append(self._sent(tracked.start) if starts else None)
            states.append(None if starts else tracked.state)
        fields = {"shapes": shapes, "states": states if any(states) else []}
        return EncodedUnit(body=encode_payload(fields, {"image": image.data}), images=(image,))

    def _sent(self, shape: Shape) -> Any:
        if self._run.spec.legacy_tracker:
            return list(shape.points)
        return {"type": shape.type, "points": list(shape.points)}

    def results(self, unit: Unit, sent: EncodedUnit, answered: UnitAnswer) -> list[FrameResult]:
        """Keep the new states, and return the shapes in the outcome."""
        frame, active = unit.numbers[0], self._active(unit.context)
        try:
            shapes, states = check_tracker_answer(
                answered.answer,
                expected=len(active),
                shape_types=self._run.spec.supported_shape_types,
                image_size=_size(unit.frames[0]),
                items=active,
            )
        except AnswerError as exc:
            raise FunctionAnswerInvalid(
                f"{self._run.function_name}, frame {frame}: {exc.message}"
            ) from exc
        found: dict[str, Any] = {}
        for number, shape, state in zip(active, shapes, states, strict=True):
            tracked = self._objects[number]
            starts = tracked.start.frame == frame
            seen = starts or (shape is not None and _has_area(shape))
            if starts:
                shape = {"type": tracked.start.type, "points": list(tracked.start.points)}
                tracked.start_state = state
            tracked.lost = state is None or (not seen and self._tracking.stop_when_lost)
            tracked.state = None if tracked.lost else state
            found[str(number)] = [shape["type"], shape["points"]] if shape and seen else None
        return [
            self._result(
                unit.context, found, attempts=answered.attempts, duration_s=answered.duration_s
            )
        ]

    def parts(self, unit: Unit) -> list[Unit]:
        """Return the unit: a frame cannot be split."""
        return [unit]

    def _result(
        self, index: int, found: dict[str, Any], *, attempts: int, duration_s: float | None
    ) -> FrameResult:
        state = {"visit": index, "objects": [tracked.to_json() for tracked in self._objects]}
        return FrameResult(
            frame=self._visits[index].frame,
            status=FrameStatus.DONE,
            attempts=attempts,
            duration_s=duration_s,
            result={"objects": found},
            checkpoint=checkpoint.pack(state),
        )

    def prepare_finish(self, check: Callable[[], None]) -> None:
        """Build the tracks from the outcomes."""
        outcomes = Outcome.objects.filter(shard=self._run.shard, status=FrameStatus.DONE)
        found: list[dict[int, TrackedShape | None]] = [{} for _ in self._objects]
        for frame, result in outcomes.values_list("frame", "result").iterator():
            check()
            for number, shape in ((result or {}).get("objects") or {}).items():
                start = self._objects[int(number)].start
                found[int(number)][frame] = shape and keyframe_of(
                    start, frame=frame, type=shape[0], points=shape[1], mutable=self._mutable
                )
        self._tracks = tuple(
            (
                tracked.start,
                build_track(
                    tracked.start,
                    shapes,
                    frames=self._frames,
                    end=self._end(),
                    mutable=self._mutable,
                    tolerance_px=self._tracking.tolerance_px,
                ),
            )
            for tracked, shapes in zip(self._objects, found, strict=True)
            if len(shapes) > 1
        )

    def _end(self) -> int | None:
        """Return the frame that closes the tracks; None if they were followed to the last frame."""
        last = max(visit.frame for visit in self._visits)
        return last + 1 if last < self._run.last_frame else None

    def finish(self) -> None:
        """Write the tracks, and remove the shapes that they continue."""
        run = self._run
        run.lease.fence()
        assert self._tracks is not None  # `prepare_finish` comes first
        if not self._tracks:
            return
        added = LabeledData(tracks=tuple(track for _, track in self._tracks))
        unchanged = self._lock_unchanged([start for start, _ in self._tracks])
        written = run.engine.apply(
            Change(
                task_id=run.task.id,
                job_id=run.shard.job_id,
                frames=tuple(sorted({start.frame for start, _ in self._tracks})),
                remove=Removal(policy="ids", shape_ids=sorted(unchanged)),
                add=added,
                user_id=run.request.owner_id,
            )
        )
        forget_removed(written)
        merged_rectangles.remember(
            run,
            [
                (start, ids[0])
                for (start, _), ids in zip(self._tracks, written.track_ids, strict=True)
                if start.id in unchanged
            ],
        )
        record_provenance(run, added, written)
        Request.objects.filter(pk=run.request.pk).update(shapes=F("shapes") + len(self._tracks))

    def _lock_unchanged(self, starts: Sequence[Shape]) -> set[int]:
        """Lock the start shapes; return the ids of those that nobody has edited or deleted."""
        known = {(ObjectKind.SHAPE, s.id): fingerprint(s) for s in starts if s.id is not None}
        stored = stored_fingerprints(self._run.engine, self._run.task.id, known)
        return {key[1] for key, value in known.items() if stored.get(key) == value}


def _unit(index: int, frame: Frame | UnreadableFrame) -> ReaderItem:
    if isinstance(frame, UnreadableFrame):
        return failed(frame.number, frame.error, attempts=0, duration_s=0.0)
    return Unit(frames=(frame,), numbers=(frame.number,), context=index)


def _size(frame: Frame) -> tuple[int, int]:
    """Return width and height of a frame as people see it, in pixels. Raise FrameUnreadable."""
    if frame.width is not None and frame.height is not None:
        return frame.width, frame.height
    return image_size(frame.data)


def _has_area(shape: dict[str, Any]) -> bool:
    """Return whether an object is visible: one that left the image has no area, on its border."""
    points: list[float] = shape["points"]
    xs, ys = points[::2], points[1::2]
    return shape["type"] == "points" or (max(xs) > min(xs) and max(ys) > min(ys))
