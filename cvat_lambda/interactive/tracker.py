"""Run one step of a tracker: a shape begins a track, a state continues it.

The function gets shapes (null for a track that continues) and states (none at the beginning) in
the same order, as CVAT 2.54 sends them. It answers a shape and a state for each.

CVAT's page (2.54) reads the points of every shape, so that a null ends the step for all objects
of the call. The page ignores a rectangle without area, so that object keeps its last position.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from cvat_lambda.annotations.errors import ShapeError
from cvat_lambda.annotations.shapes import check_points
from cvat_lambda.annotations.tracker_answer import check_tracker_answer
from cvat_lambda.errors import FunctionError, InvalidRequest, InvalidTrackerState
from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.gateway.payload import encode_payload
from cvat_lambda.interactive.call import Call
from cvat_lambda.interactive.image import encode_frame, image_size
from cvat_lambda.interactive.params import TrackerShape, refuse_roi, require
from cvat_lambda.interactive.tracker_state import StateSigner, TrackerState

_NOTHING_FOR_PAGES: Final = {"type": "rectangle", "points": [0.0, 0.0, 0.0, 0.0]}


def track(call: Call) -> dict[str, list[Any]]:
    """Return ``{"shapes": [{type, points} or None], "states": [signed text or None]}``.

    A page gets a shape without area instead of None.
    """
    answer = _track(call)
    if call.params.from_browser:
        answer["shapes"] = [shape or _NOTHING_FOR_PAGES for shape in answer["shapes"]]
    return answer


def _track(call: Call) -> dict[str, list[Any]]:
    params, spec = call.params, call.spec
    require(spec, params, "frame")
    refuse_roi(spec, params)
    assert params.frame is not None
    signer = StateSigner(
        function_id=spec.id, user_id=call.access.user_id, task_id=call.scope.task_id
    )
    shapes, states = _objects(spec, params.shapes, params.states)
    opened = signer.open_all(states)
    frame = call.frame(params.frame)
    # An object with neither shape nor state was lost before, so it is not sent.
    known = [i for i in range(len(shapes)) if shapes[i] is not None or opened[i] is not None]
    answer: dict[str, list[Any]] = {
        "shapes": [None] * len(shapes),
        "states": [None] * len(shapes),
    }
    if not known:
        return answer
    fields = {
        "shapes": [_sent_shape(spec, shapes[i]) for i in known],
        "states": [_value(opened[i]) for i in known] if any(states) else [],
    }
    body = encode_payload(fields, {"image": encode_frame(frame, spec)})
    sent = [state for state in opened if state is not None]
    try:
        result = call.invoke(body)
    except FunctionError as exc:
        _require_revision(spec, sent, spec.revision, exc)
        raise
    _require_revision(spec, sent, result.revision)
    with call.checking(frame.number):
        found, new_states = check_tracker_answer(
            result.answer,
            expected=len(known),
            shape_types=spec.supported_shape_types,
            image_size=image_size(frame),
            items=known,
        )
        for i, shape, state in zip(known, found, new_states, strict=True):
            answer["shapes"][i] = shape
            answer["states"][i] = signer.sign(state, revision=result.revision, item=i)
    return answer


def _value(state: TrackerState | None) -> Any:
    return None if state is None else state.value


def _require_revision(
    spec: FunctionSpec,
    states: Iterable[TrackerState],
    revision: str,
    cause: Exception | None = None,
) -> None:
    """Raise InvalidTrackerState if a state was made by another revision of the function."""
    if any(state.revision != revision for state in states):
        raise InvalidTrackerState(
            f"Function '{spec.id}' was deployed again since the track began. Start the track again."
        ) from cause


def _objects(
    spec: FunctionSpec,
    shapes: Sequence[TrackerShape | None] | None,
    states: Sequence[str | None] | None,
) -> tuple[Sequence[TrackerShape | None], Sequence[str | None]]:
    """Return shapes and states of one length. Raise InvalidRequest if neither is given."""
    if shapes is None and states is None:
        raise InvalidRequest(
            f"A call of tracker '{spec.id}' needs 'shapes' to begin with or 'states' to go on with."
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
            f"shapes[{index}].type: function '{spec.id}' does not track {shape.type} shapes,"
            f" only {', '.join(spec.supported_shape_types)}"
        )
    try:
        check_points(shape.type, shape.points)
    except ShapeError as exc:
        raise InvalidRequest(f"shapes[{index}].points: {exc.message}") from exc


def _sent_shape(spec: FunctionSpec, shape: TrackerShape | None) -> Any:
    if shape is None:
        return None
    if spec.legacy_tracker:
        return list(shape.points)
    return {"type": shape.type, "points": list(shape.points)}
