"""A video chunk of CVAT, read by position.

After each step back, CVAT's reader decodes the chunk from its start. This reader seeks to the
keyframe before the position.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import av


class VideoChunk:
    """The decoded frames of a chunk (``av.VideoFrame``) by position, for one thread at a time."""

    def __init__(self, content: BytesIO) -> None:
        self._container: Any = av.open(content, "r")
        self._stream: Any = self._container.streams.video[0]
        self._stream.thread_type = (
            "NONE"  # several chunks are open, which must not use several CPUs each
        )
        packets = self._container.demux(self._stream)
        found = sorted((packet.pts, packet.is_keyframe) for packet in packets if packet.size)
        self._timestamps = [timestamp for timestamp, _ in found]
        self._keys = [place for place, (_, is_key) in enumerate(found) if is_key] or [0]
        self._frames: Iterator[Any] = iter(())
        self._next: int | None = None  # the position of the decoder's next frame

    def __getitem__(self, position: int) -> Any:
        """Return the frame at a position. Raise IndexError."""
        wanted = self._timestamps[position]
        key = self._keys[max(0, bisect_right(self._keys, position) - 1)]
        if self._next is None or not key <= self._next <= position:
            self._container.seek(self._timestamps[key], stream=self._stream)
            self._frames = self._container.decode(self._stream)
            self._next = key
        for frame in self._frames:
            self._next += 1
            if frame.pts == wanted:
                return frame
        self._next = None
        raise IndexError(position)

    def close(self) -> None:
        """Close the decoder."""
        self._frames = iter(())
        self._container.close()
