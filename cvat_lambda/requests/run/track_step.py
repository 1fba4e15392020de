"""One step of a tracker: an invocation with the objects that are tracked through a clip of frames.

A function may keep the states itself and return handles. If it does not have a state any more, its
object is started anew from its last known shape, with the image of that shape's frame.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from cvat_lambda.agents.params import track_step
from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.annotations.notes import Note
from cvat_lambda.annotations.tracker_answer import (
    TrackedShapes,
    check_clip_answer,
    check_tracker_answer,
)
from cvat_lambda.engine.port import Frame, UnreadableFrame
from cvat_lambda.errors import FunctionAnswerInvalid, FunctionFailed, FunctionStateUnknown
from cvat_lambda.gateway.payload import Images, encode_payload
from cvat_lambda.images.decode import image_size
from cvat_lambda.images.resize import resize
from cvat_lambda.requests.run.results import Ask, UnitAnswer, Version
from cvat_lambda.requests.run.shard_context import ShardRun
from cvat_lambda.requests.run.track_objects import SeenShape, TrackedObject

Active = Mapping[int, TrackedObject]  # the objects of a step by their numbers
# The shapes of one frame by the numbers of the objects; None: lost. Or why the frame failed.
StepFrame = dict[int, SeenShape | None] | FunctionFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a step found."""

    frames: tuple[StepFrame, ...]  # in the order of the clip
    attempts: int = 0
    duration_s: float | None = None
    notes: tuple[Note, ...] = ()
    version: Version | None = None  # of the function that answered


class Stepper:
    """Invokes the tracker of a run."""

    def __init__(self, run: ShardRun, *, stop_when_lost: bool) -> None:
        self._run = run
        self._stop_when_lost = stop_when_lost

    def step(self, frames: Sequence[Frame], active: Active, ask: Ask) -> Step:
        """Track objects through the frames, and give them their new states.

        An object without a state starts on the first frame. Raise LambdaError.
        """
        notes: tuple[Note, ...] = ()
        attempts = 0
        starting = frozenset(n for n, tracked in active.items() if tracked.state is None)
        if not active:
            return Step(frames=tuple({} for _ in frames))
        try:
            answered = self._asked(frames, active, ask)
        except FunctionStateUnknown as error:
            note, attempts = self._restart(error, active, ask)
            notes = (note,)
            active = {n: tracked for n, tracked in active.items() if not tracked.lost}
            answered = self._asked(frames, active, ask)
        shapes, states = self._checked(answered, frames, active)
        if starting and isinstance(shapes[0], str):
            raise FunctionFailed(f"{self._run.function_name} failed: {shapes[0]}")
        found = tuple(
            self._frame(frame, given, active, starting if index == 0 else frozenset())
            for index, (frame, given) in enumerate(zip(frames, shapes, strict=True))
        )
        for (number, tracked), state in zip(active.items(), states, strict=True):
            if number in starting and len(frames) == 1:
                tracked.start_state = state
            tracked.lost = tracked.lost or state is None
            tracked.state = None if tracked.lost else state
        return Step(
            frames=found,
            attempts=attempts + answered.attempts,
            duration_s=answered.duration_s,
            notes=notes,
            version=answered.version,
        )

    def start(self, frame: Frame, active: Active, ask: Ask) -> None:
        """Start objects on a frame from their last known shapes, and give them their states.

        Raise LambdaError.
        """
        for tracked in active.values():
            tracked.state, tracked.lost = None, False
        _, states = self._checked(self._asked([frame], active, ask), [frame], active)
        for tracked, state in zip(active.values(), states, strict=True):
            tracked.state, tracked.lost = state, state is None

    def _restart(self, error: FunctionStateUnknown, active: Active, ask: Ask) -> tuple[Note, int]:
        """Start the objects anew whose states the function does not have any more.

        Return a note and the number of invocations. Raise the error if no object had a state.
        """
        named = error.details.get("objects")
        unknown = {
            number: tracked
            for index, (number, tracked) in enumerate(active.items())
            if tracked.state is not None and (named is None or index in named)
        }
        if not unknown:
            raise error
        by_frame: dict[int, dict[int, TrackedObject]] = defaultdict(dict)
        for number, tracked in unknown.items():
            by_frame[tracked.seen.frame][number] = tracked
        for frame, together in by_frame.items():
            self.start(_first(self._run.read([frame])), together, ask)
        first = next(iter(unknown))
        return (
            Note(
                kind="tracking_restarted",
                count=len(unknown),
                reason=f"the function did not have the state of object {first} any more: it was "
                f"started anew from its shape on frame {unknown[first].seen.frame}",
            ),
            len(by_frame),
        )

    def _asked(self, frames: Sequence[Frame], active: Active, ask: Ask) -> UnitAnswer:
        """Invoke the function. Raise FunctionStateUnknown only if a state was sent."""
        try:
            return ask(self._body(frames, active))
        except FunctionStateUnknown as exc:
            if any(tracked.state is not None for tracked in active.values()):
                raise
            raise FunctionAnswerInvalid(
                f"{self._run.function_name}, frame {frames[0].number}: it asks for a shape, "
                "but got it"
            ) from exc

    def _body(self, frames: Sequence[Frame], active: Active) -> bytes:
        """Send ``shapes`` of the objects that start, ``states`` of the others, and the images.

        Agents get the number of the frame instead of its image.
        """
        states = [tracked.state for tracked in active.values()]
        shapes = [
            self._sent(tracked.seen) if tracked.state is None else None
            for tracked in active.values()
        ]
        if not any(state is not None for state in states):
            states = []
        if self._run.spec.is_native:
            (frame,) = frames
            task_id = self._run.task.id
            return encode_payload(track_step(task_id, frame.number, shapes=shapes, states=states))
        images = [resize(frame.data, self._run.spec, keep_size=True).data for frame in frames]
        named: Images = {"image": images[0]} if len(images) == 1 else {"images": images}
        return encode_payload(
            {"shapes": shapes, "states": states}, named, binary=self._run.spec.binary
        )

    def _sent(self, shape: SeenShape) -> Any:
        if self._run.spec.legacy_tracker:
            return list(shape.points)
        return {"type": shape.type, "points": list(shape.points)}

    def _checked(
        self, answered: UnitAnswer, frames: Sequence[Frame], active: Active
    ) -> tuple[list[TrackedShapes | str], list[Any]]:
        types, numbers = self._run.spec.supported_shape_types, list(active)
        sizes = [frame_size(frame) for frame in frames]
        try:
            if len(frames) > 1:
                return check_clip_answer(
                    answered.answer,
                    expected=len(active),
                    shape_types=types,
                    image_sizes=sizes,
                    items=numbers,
                )
            shapes, states = check_tracker_answer(
                answered.answer,
                expected=len(active),
                shape_types=types,
                image_size=sizes[0],
                items=numbers,
            )
        except AnswerError as exc:
            raise FunctionAnswerInvalid(
                f"{self._run.function_name}, frame {frames[0].number}: {exc.message}"
            ) from exc
        return [shapes], states

    def _frame(
        self,
        frame: Frame,
        given: TrackedShapes | str,
        active: Active,
        starting: frozenset[int],
    ) -> StepFrame:
        """Return the shapes of a frame, and keep the last known shape of each object."""
        if isinstance(given, str):
            return FunctionFailed(f"{self._run.function_name} failed: {given}")
        found: dict[int, SeenShape | None] = {}
        for (number, tracked), shape in zip(active.items(), given, strict=True):
            seen = None if shape is None or not has_area(shape) else seen_shape(frame, shape)
            if number in starting and (seen is None or seen.type == tracked.seen.type):
                seen = tracked.seen  # as it was drawn
            if tracked.lost:
                seen = None  # in an earlier frame of the clip, with `stop_when_lost`
            elif seen is not None:
                tracked.seen = seen
            elif self._stop_when_lost:
                tracked.lost = True
            found[number] = seen
        return found


def seen_shape(frame: Frame, shape: Mapping[str, Any]) -> SeenShape:
    """Return a shape of a checked answer."""
    return SeenShape(frame=frame.number, type=shape["type"], points=tuple(shape["points"]))


def read_frame(run: ShardRun, number: int) -> Frame:
    """Return one frame of the run's task. Raise FrameUnreadable, EngineUnavailable."""
    return _first(run.engine.frames(run.task.id, [number], job_id=run.shard.job_id))


def _first(frames: Iterator[Frame | UnreadableFrame]) -> Frame:
    with closing(frames):  # type: ignore[type-var]  # a generator in both engines
        frame = next(frames)
    if isinstance(frame, UnreadableFrame):
        raise frame.error
    return frame


def frame_size(frame: Frame) -> tuple[int, int]:
    """Return width and height of a frame as people see it, in pixels. Raise FrameUnreadable."""
    if frame.width is not None and frame.height is not None:
        return frame.width, frame.height
    return image_size(frame.data)


def has_area(shape: Mapping[str, Any]) -> bool:
    """Return whether an object is visible: one that left the image has no area, on its border."""
    points: list[float] = shape["points"]
    if shape["type"] == "rectangle":
        left, top, right, bottom = points
        return right > left and bottom > top  # its corners are in order: the answer was checked
    if shape["type"] in ("points", "mask"):
        return True
    xs, ys = points[::2], points[1::2]
    return max(xs) > min(xs) and max(ys) > min(ys)
