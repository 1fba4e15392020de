"""Chunks of CVAT's, opened and read by position; and images as an annotator sees them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import cv2  # type: ignore[import-not-found]
from cvat.apps.engine import models
from cvat.apps.engine.exceptions import CloudStorageMissingError
from cvat.apps.engine.utils import CvatChunkTimestampMismatchError
from django.core.exceptions import ObjectDoesNotExist
from django.db import InterfaceError, OperationalError
from PIL import Image, ImageOps
from redis.exceptions import LockError, RedisError

from cvat_lambda.engine.cvat import cloud
from cvat_lambda.engine.cvat.compat import images_in, is_archive, read_chunk
from cvat_lambda.engine.cvat.media import Place
from cvat_lambda.engine.cvat.video import VideoChunk
from cvat_lambda.errors import EngineUnavailable, FrameUnreadable, LambdaError, TaskNotFound

ORIENTATION: Final = 0x0112  # the EXIF tag; 1 is upright


class TryAgain(EngineUnavailable):
    """The frame cannot be had now; soon it may."""


class NotInCloud(FrameUnreadable):
    """The frame cannot be had, though its cloud storage answers: perhaps only since just now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An encoded image. The size is given where it is known without a look into the file."""

    data: bytes
    mime: str
    width: int | None = None
    height: int | None = None


def upright(content: bytes) -> Picture:
    """An image file as an annotator sees it; untouched unless EXIF turns it."""
    with Image.open(BytesIO(content)) as image:
        mime = Image.MIME.get(image.format or "", "application/octet-stream")
        if not _is_turned(image, content):
            return Picture(data=content, mime=mime)
        turned = ImageOps.exif_transpose(image)
        buffer = BytesIO()
        if image.format == "JPEG":
            turned.save(buffer, "JPEG", quality=100, subsampling=0)
        else:
            turned.save(buffer, "PNG", compress_level=1)
            mime = "image/png"
    return Picture(data=buffer.getvalue(), mime=mime)


def _is_turned(image: Image.Image, content: bytes) -> bool:
    if image.format == "PNG" and b"eXIf" not in content and b"Raw profile" not in content:
        return False  # to be sure, Pillow would decode all of it
    return image.getexif().get(ORIENTATION, 1) not in (0, 1)


def encode(video_frame: Any) -> Picture:
    """PNG, as CVAT gives frames of videos; OpenCV's own choice of compression is its fastest."""
    pixels = video_frame.to_ndarray(format="bgr24")
    done, encoded = cv2.imencode(".png", pixels)
    if not done:
        raise FrameUnreadable("a frame of the video could not be encoded")
    height, width = pixels.shape[:2]
    return Picture(data=encoded.tobytes(), mime="image/png", width=width, height=height)


class OpenChunk:
    """A chunk that is read by position, by one thread at a time."""

    def __init__(self, place: Place) -> None:
        self._lock = threading.Lock()
        segment = models.Segment.objects.select_related("task__data").get(pk=place.segment_id)
        content = read_chunk(segment, place.chunk)
        self.is_video = not is_archive(content)
        self._items: Any = VideoChunk(content) if self.is_video else images_in(content)

    def item(self, position: int) -> Any:
        """A decoded frame of a video, or an image file. Raise FrameUnreadable."""
        with self._lock:
            try:
                found = self._items[position]
                return found if self.is_video else found[0].getvalue()
            except (StopIteration, IndexError) as exc:  # the first must not end a generator of ours
                raise FrameUnreadable(
                    "a chunk of the task has fewer frames than it should"
                ) from exc

    def read(self, position: int) -> Picture:
        """The image file at a position. Raise FrameUnreadable."""
        found = self.item(position)
        return encode(found) if self.is_video else upright(found)

    def close(self) -> None:
        """Let go of the data."""
        with self._lock:
            self._items.close()


class OpenChunks:
    """The few chunks last read, kept open for the next call on one of their frames."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._chunks: OrderedDict[tuple[int, int, object], OpenChunk] = OrderedDict()

    def get(self, place: Place) -> OpenChunk:
        """The chunk of a place, opened if it is not. Two threads may open the same one once."""
        with self._lock:
            chunk = self._chunks.get(place.key)
            if chunk is not None:
                self._chunks.move_to_end(place.key)
                return chunk
        chunk = OpenChunk(place)  # takes its time: others are not kept waiting
        with self._lock:
            self._chunks[place.key] = chunk
            while len(self._chunks) > self._limit:
                # Not closed: somebody may read it still; it goes with its last reader.
                self._chunks.popitem(last=False)
        return chunk


@contextmanager
def translated(task_id: int, number: int) -> Iterator[None]:
    """What reading a frame raises, as errors of ours; `TryAgain` where that may help."""
    name = f"frame {number} of task #{task_id}"
    try:
        yield
    except LambdaError:
        raise
    except CvatChunkTimestampMismatchError as exc:
        raise TryAgain(f"CVAT is making the chunk of {name} anew") from exc
    except (TimeoutError, LockError) as exc:
        raise TryAgain(
            f"CVAT did not make the chunk of {name} in time: does a worker of its"
            " 'chunks' queue run?"
        ) from exc
    except RedisError as exc:
        raise TryAgain(f"CVAT's cache of chunks does not answer: {name} cannot be read") from exc
    except (OperationalError, InterfaceError) as exc:
        raise TryAgain(f"the database does not answer: {name} cannot be read") from exc
    except CloudStorageMissingError as exc:
        raise EngineUnavailable(
            f"task #{task_id} has lost its cloud storage: connect it again in CVAT"
        ) from exc
    except ObjectDoesNotExist as exc:
        raise TaskNotFound(f"task #{task_id} was not found") from exc
    except Exception as exc:
        if not cloud.is_in_cloud(task_id):
            raise FrameUnreadable(f"{name} cannot be read as an image") from exc
        if cloud.is_away(task_id):
            raise TryAgain(
                f"the cloud storage of task #{task_id} does not answer: {name} cannot be read"
            ) from exc
        raise NotInCloud(
            f"{name} is missing in its cloud storage, or cannot be read as an image"
        ) from exc
