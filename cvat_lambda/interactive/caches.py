"""The `InteractiveCaches` object owns the state that calls keep in this process."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final

from cvat_lambda.annotations.types import Label
from cvat_lambda.engine.port import Frame
from cvat_lambda.interactive.bounded_cache import BoundedCache
from cvat_lambda.interactive.call_counts import CallCounts
from cvat_lambda.interactive.embedding_store import EmbeddingStore
from cvat_lambda.interactive.sent_embeddings import SentEmbeddings

if TYPE_CHECKING:
    from cvat_lambda.interactive.embeddings import StoredEmbedding

FRAMES_BYTES: Final = 64 * 1024 * 1024
LABELS_OF_TASKS: Final = 256
KNOWN_EMBEDDINGS: Final = 4096


class InteractiveCaches:
    """Owns the kept frames, labels and embeddings, and the counts of calls."""

    def __init__(self) -> None:
        self.frames: BoundedCache[Frame] = BoundedCache(
            FRAMES_BYTES, size_of=lambda frame: len(frame.data)
        )
        # By the id of the task and the version of its labels.
        self.labels: BoundedCache[tuple[Label, ...]] = BoundedCache(
            LABELS_OF_TASKS, size_of=lambda labels: 1
        )
        self.embeddings = EmbeddingStore()
        # By the key in the store, without their content: a click does not need it if the function
        # keeps the embedding.
        self.known_embeddings: BoundedCache[StoredEmbedding] = BoundedCache(
            KNOWN_EMBEDDINGS, size_of=lambda embedding: 1
        )
        self.sent_embeddings = SentEmbeddings()
        self.call_counts = CallCounts()
        # (id, revision) of functions whose embeddings cannot be used. None is requested of them.
        self.without_embedding: set[tuple[str, str]] = set()

    def reset(self) -> None:
        """Clear the caches of this process. What Redis holds is kept."""
        self.frames.clear()
        self.labels.clear()
        self.embeddings.reset()
        self.known_embeddings.clear()
        self.sent_embeddings.clear()
        self.call_counts = CallCounts()
        self.without_embedding.clear()


_lock = threading.Lock()
_caches: InteractiveCaches | None = None


def get_caches() -> InteractiveCaches:
    """Return the caches of this process."""
    global _caches
    if _caches is None:
        with _lock:
            if _caches is None:
                _caches = InteractiveCaches()
    return _caches


def _begin_anew() -> None:
    """Give a forked process its own caches, so that it shares no lock and no socket."""
    global _caches, _lock
    _caches, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_begin_anew)
