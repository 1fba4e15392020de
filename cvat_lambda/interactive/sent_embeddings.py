"""How often this process sent each embedding to a function that keeps its last embeddings.

A function's worker processes share no memory, and a platform gives them invocations in turn. So an
embedding is sent once for each worker before a click sends its key alone: with the key at once, a
function with two workers could answer each click that the worker does not have the embedding.
"""

from __future__ import annotations

from typing import Final

from cvat_lambda.interactive.bounded_cache import BoundedCache

_KEYS: Final = 4096  # that are counted, the most recently used ones


class SentEmbeddings:
    """Counts by the keys of embeddings. Safe for threads."""

    def __init__(self) -> None:
        self._sent: BoundedCache[int] = BoundedCache(_KEYS, size_of=lambda number: 1)

    def is_known(self, key: str, workers: int) -> bool:
        """Return whether each of the function's workers probably has the embedding.

        The worker that made it has it. This process need not know that.
        """
        return self._number(key) >= workers

    def add(self, key: str) -> None:
        """Note that an embedding was sent to one worker."""
        self._sent.put(key, self._number(key) + 1)

    def forget(self, key: str) -> None:
        """Note that a worker does not have an embedding, so that it is sent to all again."""
        self._sent.put(key, 0)

    def clear(self) -> None:
        """Forget all counts."""
        self._sent.clear()

    def _number(self, key: str) -> int:
        number = self._sent.get(key)
        return 1 if number is None else number
