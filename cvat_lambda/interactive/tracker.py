"""Run one step of a tracker: a shape begins a track, a state continues it.

The function gets shapes (null for a track that continues) and states (none at the beginning) in
the same order, as CVAT 2.54 sends them. It answers a shape and a state for each object. If it has
lost the state of an object, the object is started again from its last known shape.

CVAT's page (2.54) reads the points of every shape, so a null makes the step fail for all
objects of the call. The page ignores a rectangle without area, so the object stays where it was.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from cvat_lambda.agents.params import track_step
from cvat_lambda.annotations.errors import ShapeError
from cvat_lambda.annotations.shapes import check_points
from cvat_lambda.annotations.tracker_answer import (
    TrackedShapes,
    check_clip_answer,
    check_tracker_answer,
)
from cvat_lambda.engine.port import Frame
from cvat_lambda.errors import (
    FunctionAnswerInvalid,
    FunctionError,
    FunctionFailed,
    FunctionStateUnknown,
    InvalidRequest,
    InvalidTrackerState,
)
from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.gateway.invoke import interactive_time_limit_s
from cvat_lambda.gateway.invoke_with_retries import InvocationResult
from cvat_lambda.gateway.payload import Images, encode_payload
from cvat_lambda.interactive.call import Call
from cvat_lambda.interactive.image import encode_frame, image_size
from cvat_lambda.interactive.params import TrackerShape, refuse_roi, require
from cvat_lambda.interactive.tracker_state import SeenShape, StateSigner

_NOTHING_FOR_PAGES: Final = {"type": "rectangle", "points": [0.0, 0.0, 0.0, 0.0]}


def track(call: Call) -> dict[str, list[Any]]:
    """Return ``{"shapes": [{type, points} or None], "states": [signed text or None]}``.

    ``restarted`` has the indices of the objects that were started anew, if there are any. A page
    gets a shape without area instead of None, and no ``restarted``.
    """
    objects = Objects.of_call(call)
    assert call.params.frame is not None
    (shapes,) = objects.follow([call.sent_frame(call.params.frame)])
    answer: dict[str, list[Any]] = {"shapes": shapes, "states": objects.signed_states()}
    if call.params.from_browser:
        answer["shapes"] = [shape or _NOTHING_FOR_PAGES for shape in answer["shapes"]]
    elif objects.restarted:
        answer["restarted"] = sorted(objects.restarted)
    return answer


@dataclass(slots=True, kw_only=True)
class _Object:
    """An object of a call. One with neither a state nor a shape is lost."""

    state: Any = None
    revision: str = ""  # of the function that made the state
    begins: bool = False  # from its last known shape, without a state
    seen: SeenShape | None = None

    @property
    def is_lost(self) -> bool:
        return self.state is None and not self.begins


class Objects:
    """The objects of a tracker's call, which are followed from frame to frame."""

    def __init__(self, call: Call, objects: list[_Object], signer: StateSigner) -> None:
        self._call = call
        self._objects = objects
        self._signer = signer
        self.restarted: set[int] = set()  # indices of the objects that were started anew

    @classmethod
    def of_call(cls, call: Call) -> Objects:
        """Return the objects that a call names. Raise InvalidRequest, InvalidTrackerState."""
        params, spec = call.params, call.spec
        require(spec, params, "frame")
        refuse_roi(spec, params)
        assert params.frame is not None
        signer = StateSigner(
            function_id=spec.id, user_id=call.access.user_id, task_id=call.scope.task_id
        )
        shapes, states = _given(spec, params.shapes, params.states)
        objects = []
        for shape, state in zip(shapes, signer.open_all(states), strict=True):
            if shape is not None:
                seen = SeenShape(frame=params.frame, type=shape.type, points=shape.points)
                objects.append(_Object(begins=True, seen=seen))
            elif state is not None:
                objects.append(_Object(state=state.value, revision=state.revision, seen=state.seen))
            else:
                objects.append(_Object())
        return cls(call, objects, signer)

    def renew_time(self) -> None:
        """Give the next frame the time of a whole call."""
        ends_at = time.monotonic() + interactive_time_limit_s(self._call.spec)
        self._call = replace(self._call, ends_at=ends_at)

    @property
    def all_lost(self) -> bool:
        """Whether no object is left to follow."""
        return all(each.is_lost for each in self._objects)

    def follow(self, frames: Sequence[Frame]) -> list[TrackedShapes]:
        """Follow the objects through frames, in one invocation; return the shapes of each frame.

        Lost objects are not sent. Raise LambdaError.
        """
        known = [i for i, each in enumerate(self._objects) if not each.is_lost]
        found: list[TrackedShapes] = [[None] * len(self._objects) for _ in frames]
        if not known:
            return found
        try:
            result = self._invoke(frames, known)
        except FunctionStateUnknown as error:
            self._restart(error, known)
            known = [i for i in known if not self._objects[i].is_lost]
            result = self._invoke(frames, known)
        with self._call.checking(frames[0].number):
            for frame, shapes, given in zip(
                frames, found, self._take(result, frames, known), strict=True
            ):
                for i, shape in zip(known, given, strict=True):
                    shapes[i] = shape
                    if shape is not None:
                        self._objects[i].seen = _seen(frame, shape)
        return found

    def signed_states(self) -> list[str | None]:
        """Return the states for the client."""
        with self._call.checking(self._call.params.frame or 0):
            return [
                self._signer.sign(each.state, revision=each.revision, seen=each.seen, item=i)
                for i, each in enumerate(self._objects)
            ]

    def _take(
        self, result: InvocationResult, frames: Sequence[Frame], known: Sequence[int]
    ) -> list[TrackedShapes]:
        """Check an answer, keep its states, and return its shapes. Raise AnswerError."""
        types = self._call.spec.supported_shape_types
        sizes = [image_size(frame) for frame in frames]
        if len(frames) == 1:
            shapes, states = check_tracker_answer(
                result.answer,
                expected=len(known),
                shape_types=types,
                image_size=sizes[0],
                items=known,
            )
            found = [shapes]
        else:
            clip, states = check_clip_answer(
                result.answer,
                expected=len(known),
                shape_types=types,
                image_sizes=sizes,
                items=known,
            )
            found = []
            for frame, given in zip(frames, clip, strict=True):
                if isinstance(given, str):
                    raise FunctionFailed(
                        f"function '{self._call.spec.id}', frame {frame.number}: {given}"
                    )
                found.append(given)
        for i, state in zip(known, states, strict=True):
            each = self._objects[i]
            each.state, each.revision, each.begins = state, result.revision, False
        return found

    def _invoke(self, frames: Sequence[Frame], known: Sequence[int]) -> InvocationResult:
        """Invoke the function. Raise InvalidTrackerState if another revision made a state."""
        spec, objects = self._call.spec, [self._objects[i] for i in known]
        revisions = [each.revision for each in objects if not each.begins]
        shapes = [_sent(spec, each.seen) if each.begins else None for each in objects]
        states = [each.state for each in objects] if revisions else []
        try:
            result = self._call.invoke(self._body(frames, shapes, states))
        except FunctionError as exc:
            _require_revision(spec, revisions, spec.revision, exc)
            if isinstance(exc, FunctionStateUnknown) and not states:
                raise FunctionAnswerInvalid(
                    f"frame {frames[0].number}: function '{spec.id}' asks for a shape, but got it",
                    **exc.details,
                ) from exc
            raise
        _require_revision(spec, revisions, result.revision)
        return result

    def _body(self, frames: Sequence[Frame], shapes: list[Any], states: list[Any]) -> bytes:
        """Return the body with the images, for agents with the number of the frame instead."""
        spec = self._call.spec
        if spec.is_native:
            (frame,) = frames
            task_id = self._call.scope.task_id
            return encode_payload(track_step(task_id, frame.number, shapes=shapes, states=states))
        images = [encode_frame(frame, spec) for frame in frames]
        named: Images = {"image": images[0]} if len(images) == 1 else {"images": images}
        return encode_payload({"shapes": shapes, "states": states}, named, binary=spec.binary)

    def _restart(self, error: FunctionStateUnknown, known: Sequence[int]) -> None:
        """Start the objects anew whose states the function does not have any more.

        Raise the error if there are none, or if their shapes are not known.
        """
        named = error.details.get("objects")
        by_frame: dict[int, list[int]] = defaultdict(list)
        for position, i in enumerate(known):
            each = self._objects[i]
            if not each.begins and (named is None or position in named):
                if each.seen is None:
                    raise error
                by_frame[each.seen.frame].append(i)
        if not by_frame:
            raise error
        for number, together in by_frame.items():
            for i in together:
                self._objects[i].state, self._objects[i].begins = None, True
            frame = self._call.sent_frame(number)
            result = self._invoke([frame], together)
            with self._call.checking(number):
                self._take(result, [frame], together)
            self.restarted.update(together)


def _seen(frame: Frame, shape: dict[str, Any]) -> SeenShape:
    return SeenShape(frame=frame.number, type=shape["type"], points=tuple(shape["points"]))


def _require_revision(
    spec: FunctionSpec,
    revisions: Iterable[str],
    revision: str,
    cause: Exception | None = None,
) -> None:
    """Raise InvalidTrackerState if a state was made by another revision of the function."""
    if any(made_by != revision for made_by in revisions):
        raise InvalidTrackerState(
            f"Function '{spec.id}' was deployed again since the track began. Start the track again."
        ) from cause


def _given(
    spec: FunctionSpec,
    shapes: Sequence[TrackerShape | None] | None,
    states: Sequence[str | None] | None,
) -> tuple[Sequence[TrackerShape | None], Sequence[str | None]]:
    """Return shapes and states of one length. Raise InvalidRequest if neither is given."""
    if shapes is None and states is None:
        raise InvalidRequest(
            f"A call of tracker '{spec.id}' needs 'shapes' to start, or 'states' to continue."
        )
    size = len(shapes if shapes is not None else states or ())
    shapes = shapes if shapes is not None else [None] * size
    states = states if states else [None] * size
    if len(states) != size:
        raise InvalidRequest(
            f"There are {size} shapes, but {len(states)} states: give one of each an object."
        )
    for index, shape in enumerate(shapes):
        if shape is not None:
            _check_start(spec, index, shape)
    return shapes, states


def _check_start(spec: FunctionSpec, index: int, shape: TrackerShape) -> None:
    if shape.type not in spec.supported_shape_types:
        raise InvalidRequest(
            # CVAT's sentence; scripts may look for it.
            f"This function does not support shapes of type '{shape.type}' (shapes[{index}]): "
            f"'{spec.id}' tracks {', '.join(spec.supported_shape_types)}"
        )
    try:
        check_points(shape.type, shape.points)
    except ShapeError as exc:
        raise InvalidRequest(f"shapes[{index}].points: {exc.message}") from exc


def _sent(spec: FunctionSpec, shape: SeenShape | None) -> Any:
    assert shape is not None  # of an object that begins
    if spec.legacy_tracker:
        return list(shape.points)
    return {"type": shape.type, "points": list(shape.points)}
