"""Video files: an index of their frames, and decoding in order.

Only videos need PyAV.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from cvat_lambda.engine.standalone.conf import engine_settings
from cvat_lambda.errors import InvalidRequest

if TYPE_CHECKING:
    import av.container

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts"}
    | {".mts", ".m2ts", ".3gp", ".ogv", ".vob"}
)
_BLOCK = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoIndex:
    """The positions of a video's frames."""

    width: int  # pixels, as shown
    height: int
    rotation: int  # degrees clockwise to turn a decoded frame upright
    timestamps: list[int]  # of each frame, in the stream's time base
    key_timestamps: list[int]  # where decoding can start; empty: at the beginning
    fingerprint: str
    lost_frames: int = 0  # frames that the file announces and that cannot be decoded


def is_video(name: str) -> bool:
    """Return whether a file is a video, by the name that the client gave it.

    Uploads are stored under generated names, so the path on disk has no suffix.
    """
    return Path(name).suffix.lower() in VIDEO_SUFFIXES


def _open(path: Path) -> av.container.InputContainer:
    try:
        import av
    except ImportError as exc:
        raise InvalidRequest("videos need the package 'av' on the server") from exc
    container = av.open(str(path), mode="r")
    for stream in container.streams.video:
        stream.thread_type = "AUTO"
    return container


def _decoded(
    container: av.container.InputContainer, on_broken: Callable[[], None] | None = None
) -> Iterator[Any]:
    """Decode the first video stream from the container's position, without broken packets."""
    import av

    stream = container.streams.video[0]
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.error.InvalidDataError:
            if on_broken is not None:
                on_broken()


def _require_video(container: av.container.InputContainer, name: str) -> None:
    """Refuse pictures and oversized frames before a frame is decoded. Raise InvalidRequest."""
    if not container.streams.video:
        raise InvalidRequest(f"file '{name}' holds no video stream")
    kind = container.format.name
    if kind.endswith("_pipe") or kind in ("image2", "gif", "apng"):
        raise InvalidRequest(f"file '{name}' is a picture and not a video; give it its own suffix")
    context = container.streams.video[0].codec_context
    pixels, maximum = context.width * context.height, engine_settings.MAX_VIDEO_PIXELS
    if pixels > maximum:
        raise InvalidRequest(
            f"file '{name}' has frames of {context.width} x {context.height} = {pixels} pixels;"
            f" this server takes videos of {maximum} pixels a frame at most"
        )


def _rotation(frame: Any) -> int:
    """Return the rotation in degrees clockwise; PyAV gives it counter-clockwise."""
    return int(-getattr(frame, "rotation", 0)) % 360


def index(path: Path, name: str, *, on_progress: Callable[[], None] | None = None) -> VideoIndex:
    """Decode the whole video once and index its frames. Raise InvalidRequest if that fails."""
    import_error = f"file '{name}' cannot be read as a video"
    try:
        with _open(path) as container:
            _require_video(container, name)
            return _index(container, path, on_progress, import_error)
    except InvalidRequest:
        raise
    except (
        OSError,
        ValueError,
        EOFError,
        IndexError,
        MemoryError,
    ) as exc:  # the base classes of PyAV's errors
        raise InvalidRequest(import_error) from exc


def _index(
    container: av.container.InputContainer,
    path: Path,
    on_progress: Callable[[], None] | None,
    message: str,
) -> VideoIndex:
    timestamps: list[int] = []
    keys: list[int] = []
    first: Any = None
    broken: list[None] = []
    announced = container.streams.video[0].frames  # 0: the file does not state it
    for count, frame in enumerate(_decoded(container, lambda: broken.append(None))):
        first = first if first is not None else frame
        timestamp = frame.pts if frame.pts is not None else -1
        timestamps.append(timestamp)
        if frame.key_frame:
            keys.append(timestamp)
        if on_progress is not None and count % 64 == 0:
            on_progress()
    if first is None:
        raise InvalidRequest(message)
    rotation = _rotation(first)
    width, height = int(first.width), int(first.height)
    if rotation in (90, 270):
        width, height = height, width
    ascending = all(a < b for a, b in pairwise(timestamps))
    return VideoIndex(
        width=width,
        height=height,
        rotation=rotation,
        timestamps=timestamps,
        key_timestamps=keys if ascending and timestamps[0] >= 0 else [],
        fingerprint=_fingerprint(path),
        lost_frames=max(len(broken), announced - len(timestamps), 0),
    )


def _fingerprint(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


class VideoReader:
    """Reads frames of one video by position; each is decoded once if read in order."""

    def __init__(
        self,
        path: Path,
        *,
        timestamps: Sequence[int],
        key_timestamps: Sequence[int],
        rotation: int,
    ) -> None:
        self._path = path
        self._timestamps = timestamps
        self._keys = key_timestamps
        self._rotation = rotation

    def frames(
        self, positions: Iterable[int]
    ) -> Generator[tuple[int, Image.Image | None], None, None]:
        """Yield positions (ascending) and upright images; None for a frame that cannot be decoded.

        Raise OSError if the whole file cannot be read.
        """
        try:
            container = _open(self._path)
        except ValueError:  # a base class of PyAV's errors: the file is no longer a video
            yield from ((position, None) for position in positions)
            return
        with container:
            yield from self._frames(container, positions)

    def _frames(
        self, container: av.container.InputContainer, positions: Iterable[int]
    ) -> Iterator[tuple[int, Image.Image | None]]:
        stream = self._numbered(container, 0)
        at, frame = -1, None  # the frame decoded last
        for position in positions:
            if self._worth_a_seek(at, position):
                stream = self._from_key_before(container, position)
                at, frame = -1, None
            while at < position:
                at, frame = next(stream, (len(self._timestamps), None))
            yield position, self._picture(frame) if at == position and frame is not None else None

    def _worth_a_seek(self, at: int, position: int) -> bool:
        """Return whether a keyframe lies between the frame decoded last and the wanted one."""
        if not self._keys:
            return False
        key = bisect_right(self._keys, self._timestamps[position]) - 1
        if key <= 0:
            return False
        return bisect_left(self._timestamps, self._keys[key]) > at + 1

    def _from_key_before(
        self, container: av.container.InputContainer, position: int
    ) -> Iterator[tuple[int, Any]]:
        """Return the decoded stream from the last keyframe at or before the position.

        Containers index by decoding time, so a seek may end behind the frame. Then the keyframe
        before is tried, and finally the beginning.
        """
        wanted = self._timestamps[position]
        key = bisect_right(self._keys, wanted) - 1
        for timestamp in reversed(self._keys[max(0, key - 2) : key + 1]):
            container.seek(timestamp, stream=container.streams.video[0], backward=True)
            stream = _decoded(container)
            first = next(stream, None)
            if first is not None and first.pts is not None and first.pts <= wanted:
                return self._by_timestamp(first, stream)
        container.seek(0, stream=container.streams.video[0], backward=True)
        return self._numbered(container, 0)

    def _by_timestamp(self, first: Any, rest: Iterator[Any]) -> Iterator[tuple[int, Any]]:
        yield bisect_left(self._timestamps, first.pts), first
        for frame in rest:
            if frame.pts is not None:
                yield bisect_left(self._timestamps, frame.pts), frame

    def _numbered(
        self, container: av.container.InputContainer, start: int
    ) -> Iterator[tuple[int, Any]]:
        """Return the numbered stream from its beginning; by timestamps if they are reliable."""
        stream = _decoded(container)
        if not self._keys:
            yield from enumerate(stream, start)
            return
        first = next(stream, None)
        if first is not None:
            yield from self._by_timestamp(first, stream)

    def _picture(self, frame: Any) -> Image.Image:
        picture: Image.Image = frame.to_image()
        return picture.rotate(-self._rotation, expand=True) if self._rotation else picture
