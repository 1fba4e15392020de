"""Frames of calls: the few that people work on just now, kept in the process.

A person clicks several times on one image and steps through neighbouring frames; the engine's
content key tells whether the kept bytes still are the frame's.
"""

from __future__ import annotations

from dataclasses import replace

from cvat_lambda.engine.port import Frame
from cvat_lambda.interactive.lru import ByteLru
from cvat_lambda.interactive.params import CallScope

KEPT_BYTES = 64 * 1024 * 1024

_kept: ByteLru[Frame] = ByteLru(KEPT_BYTES, weigh=lambda frame: len(frame.data))


def read_frame(scope: CallScope, number: int) -> Frame:
    """The frame, read from the engine unless it is kept.

    Raise FrameOutOfScope, FrameUnreadable or EngineUnavailable.
    """
    key = scope.frame_key(number)
    frame = _kept.get(key)
    if frame is None:
        frame = scope.engine.frame(scope.task_id, number)
        _kept.put(key, frame)
    elif frame.number != number:  # one image at two places
        frame = replace(frame, number=number)
    return frame


def forget_frames() -> None:
    """Empty the cache of this process."""
    _kept.clear()
