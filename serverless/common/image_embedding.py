"""The JSON form of an image embedding, and the last embeddings of this worker process.

An interactor returns an embedding with the first click; the caller sends it back with the next
ones. A caller that gives it a key (``embedding_key``) may send the key alone, and sends the
embedding if this process does not have it.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common import binary
from common.errors import BadInput, EmbeddingUnknown
from common.images import decode_image, max_pixels
from common.state import pack_array, unpack_array

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: the values of ``want``: what an interactor with embeddings can be asked for
WANTS = ("mask", "blob", "embedding")
#: megabytes of embeddings that a process keeps, unless the environment says another number
KEPT_MB = 64
KEPT_MB_VARIABLE = "CVAT_LAMBDA_KEPT_EMBEDDINGS_MB"
MAX_KEY = 128  # characters


@dataclass(frozen=True)
class ImageEmbedding:
    """The output of an image encoder for one image."""

    values: NDArray[np.floating]
    image_size: tuple[int, int]  # height, width in pixels

    def to_json(self, *, version: str, dtype: str = "float32") -> dict[str, Any]:
        """Return the JSON form: little-endian numbers in base64, with image size and version.

        A caller that accepts a binary body gets the numbers as bytes.
        ``version`` identifies the weights. An embedding of other weights would give wrong masks.
        """
        packed = pack_array(self.values, dtype, raw=binary.is_accepted())
        return {**packed, "image_size": list(self.image_size), "version": version}

    @classmethod
    def from_json(cls, sent: object, *, version: str, shape: tuple[int, ...]) -> ImageEmbedding:
        """Read the form of `to_json`; raise BadInput if it is damaged or of other weights."""
        if not isinstance(sent, dict):
            raise BadInput("'embedding' is not an object; send what this function answered")
        if sent.get("version") != version:
            raise BadInput(
                f"'embedding' is of version {sent.get('version')!r}, this function is {version!r}; "
                "send 'image' instead"
            )
        values = unpack_array(sent, name="embedding")
        if values.shape != shape:
            raise BadInput(f"'embedding' has shape {values.shape}, expected {shape}")
        size = sent.get("image_size")
        if not isinstance(size, list) or len(size) != 2 or not all(map(_is_side, size)):
            raise BadInput("'embedding' has no image_size of [height, width]")
        # The mask will have this size, so the limit of images holds for it.
        limit = max_pixels()
        if size[0] * size[1] > limit:
            raise BadInput(
                f"'embedding' has {size[1]}x{size[0]} pixels, more than the limit of {limit}"
            )
        return cls(values=values, image_size=(size[0], size[1]))


class KeptEmbeddings:
    """The embeddings of one model that were used last, by the keys that callers gave them.

    Safe for threads.
    """

    def __init__(self, limit: int | None = None) -> None:
        """Keep at most ``limit`` bytes; by default the megabytes that the environment says."""
        megabytes = float(os.environ.get(KEPT_MB_VARIABLE) or KEPT_MB)
        self._limit = int(megabytes * 10**6) if limit is None else limit
        self._size = 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, ImageEmbedding] = OrderedDict()

    def read(
        self,
        body: dict[str, Any],
        embed: Callable[[NDArray[np.uint8]], ImageEmbedding],
        *,
        version: str,
        shape: tuple[int, ...],
    ) -> ImageEmbedding:
        """Return the embedding of a call: the one sent, that of its key, or that of its image.

        Keep it if the call gives it a key. Raise EmbeddingUnknown for a key alone that is not kept,
        and BadInput.
        """
        key = _read_key(body)
        if body.get("embedding") is not None:
            found = ImageEmbedding.from_json(body["embedding"], version=version, shape=shape)
        elif key is not None and body.get("image") is None:
            return self._get(key)
        else:
            found = embed(decode_image(body.get("image")))
        if key is not None:
            self._put(key, found)
        return found

    def _get(self, key: str) -> ImageEmbedding:
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                raise EmbeddingUnknown("the embedding of 'embedding_key' is not in memory; send it")
            self._kept.move_to_end(key)
            return found

    def _put(self, key: str, embedding: ImageEmbedding) -> None:
        """Keep an embedding. The least recently used ones are evicted to make room."""
        size = embedding.values.nbytes
        if size > self._limit:
            return
        with self._lock:
            previous = self._kept.pop(key, None)
            self._size += size - (0 if previous is None else previous.values.nbytes)
            self._kept[key] = embedding
            while self._size > self._limit:
                _, evicted = self._kept.popitem(last=False)
                self._size -= evicted.values.nbytes


def _read_key(body: dict[str, Any]) -> str | None:
    key = body.get("embedding_key")
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= MAX_KEY):
        raise BadInput(f"'embedding_key' is not text of 1 to {MAX_KEY} characters")
    return key


def _is_side(value: object) -> bool:
    return type(value) is int and value > 0
