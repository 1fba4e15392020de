"""CVAT's chunks, read by position, and the orientation of images.

A chunk is an archive of image files or a short video that CVAT makes from the frames of a segment.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import cv2
from cvat.apps.engine import models
from cvat.apps.engine.exceptions import CloudStorageMissingError
from cvat.apps.engine.utils import CvatChunkTimestampMismatchError
from django.core.exceptions import ObjectDoesNotExist
from django.db import InterfaceError, OperationalError
from PIL import Image, ImageOps
from redis.exceptions import LockError, RedisError

from cvat_lambda.engine.cvat import cloud
from cvat_lambda.engine.cvat.compat import images_in, is_archive, read_chunk
from cvat_lambda.engine.cvat.media import ChunkPosition
from cvat_lambda.engine.cvat.video import VideoChunk
from cvat_lambda.errors import EngineUnavailable, FrameUnreadable, LambdaError, TaskNotFound

ORIENTATION: Final = 0x0112  # the EXIF tag; 1 is upright


class TemporarilyUnavailable(EngineUnavailable):
    """The frame cannot be read now. A retry may succeed."""


class MissingInCloud(FrameUnreadable):
    """The cloud storage answers, but not with this frame. One retry may succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedImage:
    """An encoded image. The size is given if it is known without decoding."""

    data: bytes
    mime: str
    width: int | None = None
    height: int | None = None


def apply_orientation(content: bytes) -> EncodedImage:
    """Return an image as an annotator sees it. It is encoded again only if EXIF rotates it."""
    with Image.open(BytesIO(content)) as image:
        mime = Image.MIME.get(image.format or "", "application/octet-stream")
        if not _needs_rotation(image, content):
            return EncodedImage(data=content, mime=mime)
        turned = ImageOps.exif_transpose(image)
        buffer = BytesIO()
        if image.format == "JPEG":
            turned.save(buffer, "JPEG", quality=100, subsampling=0)
        else:
            turned.save(buffer, "PNG", compress_level=1)
            mime = "image/png"
    return EncodedImage(data=buffer.getvalue(), mime=mime)


def _needs_rotation(image: Image.Image, content: bytes) -> bool:
    if image.format == "PNG" and b"eXIf" not in content and b"Raw profile" not in content:
        return False  # Pillow decodes the whole file to find an EXIF block at its end
    return image.getexif().get(ORIENTATION, 1) not in (0, 1)


def encode_png(video_frame: Any) -> EncodedImage:
    """Encode a frame of a video as PNG, as CVAT does, with OpenCV's default (fast) compression."""
    pixels = video_frame.to_ndarray(format="bgr24")
    done, encoded = cv2.imencode(".png", pixels)
    if not done:
        raise FrameUnreadable("a frame of the video could not be encoded")
    height, width = pixels.shape[:2]
    return EncodedImage(data=encoded.tobytes(), mime="image/png", width=width, height=height)


class OpenChunk:
    """A chunk that is read by position. A lock admits one thread at a time."""

    def __init__(self, place: ChunkPosition) -> None:
        self._lock = threading.Lock()
        segment = models.Segment.objects.select_related("task__data").get(pk=place.segment_id)
        content = read_chunk(segment, place.chunk)
        self.is_video = not is_archive(content)
        self._items: Any = VideoChunk(content) if self.is_video else images_in(content)

    def item(self, position: int) -> Any:
        """Return a decoded frame of a video, or an image file. Raise FrameUnreadable."""
        with self._lock:
            try:
                found = self._items[position]
                return found if self.is_video else found[0].getvalue()
            except (
                StopIteration,
                IndexError,
            ) as exc:  # a StopIteration would end the caller's generator
                raise FrameUnreadable(
                    "a chunk of the task has fewer frames than it should"
                ) from exc

    def read(self, position: int) -> EncodedImage:
        """Return the image file at a position. Raise FrameUnreadable."""
        found = self.item(position)
        return encode_png(found) if self.is_video else apply_orientation(found)

    def close(self) -> None:
        """Free the data."""
        with self._lock:
            self._items.close()


class ChunkCache:
    """The chunks that were read last, kept open for the next call on one of their frames."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._chunks: OrderedDict[tuple[int, int, object], OpenChunk] = OrderedDict()

    def get(self, place: ChunkPosition) -> OpenChunk:
        """Return the chunk of a frame. Two threads may both open it the first time."""
        with self._lock:
            chunk = self._chunks.get(place.key)
            if chunk is not None:
                self._chunks.move_to_end(place.key)
                return chunk
        chunk = OpenChunk(place)  # slow, so without the lock
        with self._lock:
            self._chunks[place.key] = chunk
            while len(self._chunks) > self._limit:
                # Another thread may still read it, so it is not closed here.
                self._chunks.popitem(last=False)
        return chunk

    def clear(self) -> None:
        """Forget all chunks. Other threads may still read them, so they are not closed."""
        with self._lock:
            self._chunks.clear()


@contextmanager
def translate_errors(task_id: int, number: int) -> Iterator[None]:
    """Translate the errors of reading a frame; `TemporarilyUnavailable` means: a retry may help."""
    name = f"frame {number} of task #{task_id}"
    try:
        yield
    except LambdaError:
        raise
    except CvatChunkTimestampMismatchError as exc:
        raise TemporarilyUnavailable(f"CVAT is making the chunk of {name} again") from exc
    except (TimeoutError, LockError) as exc:
        raise TemporarilyUnavailable(
            f"CVAT did not make the chunk of {name} in time: does a worker of its"
            " 'chunks' queue run?"
        ) from exc
    except RedisError as exc:
        raise TemporarilyUnavailable(
            f"CVAT's cache of chunks does not answer: {name} cannot be read"
        ) from exc
    except (OperationalError, InterfaceError) as exc:
        raise TemporarilyUnavailable(
            f"the database does not answer: {name} cannot be read"
        ) from exc
    except CloudStorageMissingError as exc:
        raise EngineUnavailable(
            f"task #{task_id} has lost its cloud storage: connect it again in CVAT"
        ) from exc
    except ObjectDoesNotExist as exc:
        raise TaskNotFound(f"task #{task_id} was not found") from exc
    except Exception as exc:
        if not cloud.is_in_cloud(task_id):
            raise FrameUnreadable(f"{name} cannot be read as an image") from exc
        if cloud.is_unreachable(task_id):
            raise TemporarilyUnavailable(
                f"the cloud storage of task #{task_id} does not answer: {name} cannot be read"
            ) from exc
        raise MissingInCloud(
            f"{name} is missing in its cloud storage, or cannot be read as an image"
        ) from exc
