"""Follow objects through several frames for a person who waits, one answer a frame.

The first invocation has one frame, so that the first answer comes soon; the following ones have
twice as many each, up to the function's ``max_frames``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from cvat_lambda.engine.port import Frame
from cvat_lambda.errors import FunctionError, InvalidRequest, LambdaError
from cvat_lambda.functions.spec import Kind
from cvat_lambda.interactive.call import Call
from cvat_lambda.interactive.tracker import Objects


def track_frames(call: Call) -> Iterator[dict[str, Any]]:
    """Yield ``{"frame", "shapes"}`` for each frame; the last one also has ``states``.

    It ends early when no object is left. Raise LambdaError on the first frame. A later error is
    yielded as ``{"frame", "error", "states"}`` with the states of the frame before, and ends it.
    """
    if call.spec.kind is not Kind.TRACKER:
        raise InvalidRequest(f"function '{call.spec.id}' is not a tracker: remove 'frames'.")
    objects = Objects.of_call(call)
    numbers = _numbers(call)
    size, largest = 1, call.spec.max_frames
    index = 0
    while index < len(numbers):
        try:
            clip = _read(call, numbers[index : index + size])
            objects.renew_time()
            found = objects.follow(clip)
        except LambdaError as error:
            if size > 1 and isinstance(error, FunctionError):
                size = largest = 1  # the rest is sent frame by frame
                continue
            if index == 0:
                raise
            states = objects.signed_states()
            yield {"frame": numbers[index], "error": error.to_json(), "states": states}
            return
        index += len(clip)
        is_last = index == len(numbers) or objects.all_lost
        for frame, shapes in zip(clip, found, strict=True):
            answer: dict[str, Any] = {"frame": frame.number, "shapes": shapes}
            if is_last and frame is clip[-1]:
                answer["states"] = objects.signed_states()
            yield answer
        if is_last:
            return
        size = min(2 * size, largest)


def _numbers(call: Call) -> Sequence[int]:
    """Return the frames to follow: at most ``steps`` of the task or job, without deleted ones."""
    first, steps = call.params.frame, call.params.steps
    assert first is not None
    assert steps is not None
    scope = call.scope
    scope.frame_key(first)  # raises FrameOutOfScope
    task = scope.engine.task(scope.task_id)
    frames = range(task.size) if scope.facts.job is None else scope.facts.job.frames
    following = [n for n in frames if n > first and n not in task.deleted_frames]
    return [first, *following][:steps]


def _read(call: Call, numbers: Sequence[int]) -> list[Frame]:
    """Read frames, as many as fit into one invocation, at least one."""
    room = call.spec.max_body_bytes * 3 // 4 - 4096  # base64 grows by a third
    clip: list[Frame] = []
    for number in numbers:
        frame = call.sent_frame(number)
        room -= len(frame.data)
        if clip and room < 0:
            break
        clip.append(frame)
    return clip
