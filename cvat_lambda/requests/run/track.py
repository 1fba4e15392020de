"""Run a tracker: follow objects from a start frame through the frames, and write them as tracks.

The frames are visited in order, since a tracker needs the states that it returned before. A clip
of them is sent in one invocation if the function takes several. The shapes of a frame are stored
in its outcome, the states after the last frame of a clip in the checkpoint. When the shard ends,
the shapes become tracks (`track_finish`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from cvat_lambda.engine.port import Frame, UnreadableFrame
from cvat_lambda.errors import FunctionFailed, InvalidRequest, LambdaError
from cvat_lambda.requests.run import checkpoint, handover
from cvat_lambda.requests.run.results import (
    Ask,
    FrameResult,
    ReaderItem,
    Unit,
    Work,
    failed,
)
from cvat_lambda.requests.run.shard_context import ShardRun, max_call_bytes
from cvat_lambda.requests.run.track_detect import PeriodicDetector
from cvat_lambda.requests.run.track_finish import TrackWriter
from cvat_lambda.requests.run.track_objects import (
    SeenShape,
    TrackedObject,
    Visit,
    plan_visits,
    start_objects,
)
from cvat_lambda.requests.run.track_step import Step, StepFrame, Stepper
from cvat_lambda.requests.store import ranges
from cvat_lambda.requests.store.models import FrameStatus
from cvat_lambda.requests.store.tracking import Tracking

# Reasons of skipped frames.
NOT_FOLLOWED: Final = "not_followed"  # no object is tracked to this frame
PASSED: Final = "passed"  # it failed, and the tracker has passed it: a tracker cannot go back
BACKWARD_BLOCK: Final = 16  # frames in memory on a backward leg


class TrackWork(Work):
    """Sends one frame per invocation, or a clip, with all objects that are tracked on it.

    The context of a unit is the index of its first visit.
    """

    sequential = True

    def __init__(self, run: ShardRun) -> None:
        if run.params.tracking is None:
            raise InvalidRequest(f"{run.function_name} is now a tracker: start a new request")
        self._run = run
        self._tracking = Tracking.from_json(run.params.tracking)
        hidden = run.task.deleted_frames
        self._frames = [f for f in ranges.expand(run.shard.frames) if f not in hidden]
        detector = self._tracking.detector
        self._detector = None if detector is None else PeriodicDetector(run, detector)
        self._stepper = Stepper(run, stop_when_lost=self._tracking.stop_when_lost)
        saved = checkpoint.load(run.shard)
        if saved is None:
            self._objects = self._first_objects()
            self._passed = -1  # index of the visit written last
        else:
            self._objects = [TrackedObject.from_json(row) for row in saved["objects"]]
            self._passed = saved["visit"]
        # A retry of an ended run goes on with the same objects, so the visits are the same.
        self._starts = frozenset(
            saved["starts"]
            if saved is not None and "starts" in saved
            else (tracked.start.frame for tracked in self._objects if not tracked.handed_on)
        )
        first = [self._frames[0]] if self._frames else []
        handed_on = any(tracked.handed_on for tracked in self._objects)
        if handed_on and self._tracking.direction == "backward":
            first = self._frames[-1:]
        self._visits = plan_visits(
            self._tracking, self._frames, (*self._starts, *(first if handed_on else ()))
        )
        self._writer: TrackWriter | None = None

    def _first_objects(self) -> list[TrackedObject]:
        run = self._run
        starts = start_objects(
            run.engine,
            run.task,
            self._tracking,
            shape_types=run.spec.supported_shape_types,
            job_id=run.shard.job_id,
            frames=self._frames,
        )
        handed_on = handover.handed_on(
            run.shard, self._frames, backward=self._tracking.direction == "backward"
        )
        return [*handed_on, *handover.without_known(map(TrackedObject.of, starts), handed_on)]

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
        """Yield clips of frames in the order of the visits; other frames are skipped."""
        left = self._left()
        yield from self._unvisited({visit.frame for _, visit in left})
        ahead = [(index, visit) for index, visit in left if not visit.backward]
        behind = [(index, visit) for index, visit in left if visit.backward]
        if ahead:
            yield from self._clips(zip(ahead, frames, strict=True))
        yield from self._clips(zip(behind, self._descending(behind), strict=True))

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
            read = list(run.read(ascending))
            yield from reversed(read)

    def _clips(
        self, visited: Iterable[tuple[tuple[int, Visit], Frame | UnreadableFrame]]
    ) -> Iterator[ReaderItem]:
        """Group frames up to the function's limits of count and bytes.

        A frame on which objects start begins a clip. A frame with a detection ends one.
        """
        spec = self._run.spec
        room = max_call_bytes(spec)
        clip: list[Frame] = []
        first = 0  # index of the clip's first visit
        for (index, visit), frame in visited:
            follows = index == first + len(clip) and visit.frame not in self._starts
            if clip and (
                isinstance(frame, UnreadableFrame)
                or not follows
                or len(clip) >= spec.max_frames
                or sum(len(each.data) for each in clip) + len(frame.data) > room
            ):
                yield _unit(clip, first)
                clip = []
            if isinstance(frame, UnreadableFrame):
                yield failed(frame.number, frame.error, attempts=0, duration_s=0.0)
                continue
            if not clip:
                first = index
            clip.append(frame)
            if visit.detects or (
                self._tracking.direction == "both" and visit.frame in self._starts
            ):
                # The second leg needs the state after the start frame.
                yield _unit(clip, first)
                clip = []
        if clip:
            yield _unit(clip, first)

    def run(self, unit: Unit, ask: Ask) -> list[FrameResult]:
        """Track the objects through the clip, then detect on its last frame if it is time."""
        index: int = unit.context
        objects = [tracked.copy() for tracked in self._objects]
        if self._visits[index].leg != (self._visits[self._passed].leg if self._passed >= 0 else 0):
            for tracked in objects:
                tracked.begin_leg()
        step = self._stepper.step(unit.frames, self._active(index, objects), ask)
        results = [
            _result(frame.number, found, step)
            for frame, found in zip(unit.frames, step.frames, strict=True)
        ]
        last = index + len(unit.frames) - 1
        if self._visits[last].detects and results[-1].status == FrameStatus.DONE:
            results[-1] = self._detect(unit.frames[-1], objects, results[-1], ask)
        results[0] = replace(results[0], notes=(*step.notes, *results[0].notes))
        checkpoint.check_size([[tracked.state, tracked.start_state] for tracked in objects])
        # These copies of the objects do not change any more, so the writer can pack them later.
        results[-1] = replace(results[-1], checkpoint=partial(self._packed, last, objects))
        # Only now: a clip that failed is run again frame by frame, from the same states.
        self._objects, self._passed = objects, last
        return results

    def _packed(self, visit: int, objects: Sequence[TrackedObject]) -> bytes:
        return checkpoint.pack(
            {
                "visit": visit,
                "starts": sorted(self._starts),
                "objects": [tracked.to_json() for tracked in objects],
            }
        )

    def _active(self, index: int, objects: Sequence[TrackedObject]) -> Mapping[int, TrackedObject]:
        """Return the objects to send. Raise FunctionFailed if none could start."""
        visit = self._visits[index]
        active: dict[int, TrackedObject] = {}
        unstarted: list[int] = []
        for number, tracked in enumerate(objects):
            ahead = visit.frame - tracked.start.frame
            if ahead and not tracked.handed_on and (ahead < 0) != visit.backward:
                continue  # it starts later
            if tracked.lost:
                continue
            if ahead and tracked.state is None:
                unstarted.append(tracked.start.frame)
            else:
                active[number] = tracked
        if unstarted and not active:
            raise FunctionFailed(
                f"{self._run.function_name} could not start on frame {unstarted[0]}, "
                "so that there is nothing to follow"
            )
        return active

    def _detect(
        self, frame: Frame, objects: list[TrackedObject], result: FrameResult, ask: Ask
    ) -> FrameResult:
        """Begin, find again and end objects by the detector; a failure of it fails the frame."""
        assert self._detector is not None
        try:
            shapes, notes, dropped = self._detector.detect(frame)
            detected = self._detector.associate(objects, shapes, frame.number)
            if detected.restarted:
                self._stepper.start(frame, detected.restarted, ask)
        except LambdaError as error:
            return failed(
                frame.number, error, attempts=result.attempts, duration_s=result.duration_s or 0.0
            )
        found = dict(result.result["objects"])
        for number, tracked in detected.restarted.items():
            found[str(number)] = _stored(tracked.seen)
        return replace(
            result,
            result={"objects": found},
            notes=(*result.notes, *notes),
            dropped=dropped + detected.dropped,
        )

    def parts(self, unit: Unit) -> list[Unit]:
        """Split a clip into single frames, so that one bad frame does not fail the others."""
        return [_unit([frame], unit.context + offset) for offset, frame in enumerate(unit.frames)]

    def prepare_finish(self, check: Callable[[], None]) -> None:
        """Build the tracks from the outcomes."""
        visited = [visit.frame for visit in self._visits]
        self._writer = TrackWriter(
            self._run,
            self._tracking,
            self._objects,
            frames=self._frames,
            last_visited=max(visited, default=None),
        )
        self._writer.build(check)

    def finish(self) -> None:
        """Write the tracks, and remove the shapes that they continue."""
        self._run.lease.fence()
        self.keep()

    def keep(self) -> None:
        """Write what was built, in a transaction that has locked the shard."""
        assert self._writer is not None  # `prepare_finish` comes first
        self._writer.write()


def _unit(frames: Sequence[Frame], index: int) -> Unit:
    return Unit(
        frames=tuple(frames), numbers=tuple(frame.number for frame in frames), context=index
    )


def _stored(shape: SeenShape | None) -> list[Any] | None:
    return None if shape is None else [shape.type, list(shape.points)]


def _result(number: int, found: StepFrame, step: Step) -> FrameResult:
    if isinstance(found, FunctionFailed):
        return failed(number, found, attempts=step.attempts, duration_s=step.duration_s or 0.0)
    return FrameResult(
        frame=number,
        status=FrameStatus.DONE,
        attempts=step.attempts,
        duration_s=step.duration_s,
        result={"objects": {str(index): _stored(shape) for index, shape in found.items()}},
        version=step.version,
    )
