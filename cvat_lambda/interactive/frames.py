"""Read the frames of calls, with a cache in the process.

A person clicks several times on one image and steps through neighbouring frames. The cache keeps
frames by the engine's content key, so that a replaced image is read again.
"""

from __future__ import annotations

from dataclasses import replace

from cvat_lambda.engine.port import Frame
from cvat_lambda.interactive.caches import get_caches
from cvat_lambda.interactive.scope import CallScope


def read_frame(scope: CallScope, number: int) -> Frame:
    """Return the frame, read from the engine unless it is kept.

    Raise FrameOutOfScope, FrameUnreadable or EngineUnavailable.
    """
    key = scope.frame_key(number)
    kept = get_caches().frames
    frame = kept.get(key)
    if frame is None:
        frame = scope.read_frame(number)
        kept.put(key, frame)
    elif frame.number != number:  # one image with two frame numbers
        frame = replace(frame, number=number)
    return frame
