"""A least-recently-used cache bounded by size, for the threads of one process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from cachetools import LRUCache

V = TypeVar("V")


class BoundedCache(Generic[V]):
    """Values by key, whose sizes are at most ``limit``; the least recently used is evicted first.

    ``size_of`` returns the size of a value, for example in bytes. A value larger than a quarter of
    the limit is not kept, because it would evict most others.
    """

    def __init__(self, limit: int, *, size_of: Callable[[V], int]) -> None:
        self._limit = limit
        self._size_of = size_of
        self._lock = threading.Lock()
        self._values: LRUCache[str, V] = LRUCache(limit, getsizeof=size_of)

    @property
    def size(self) -> int:
        """The size of all kept values."""
        return int(self._values.currsize)

    def get(self, key: str) -> V | None:
        """Return the value, which becomes the most recently used one; None if it is not kept."""
        with self._lock:
            return self._values.get(key)

    def put(self, key: str, value: V) -> None:
        """Keep a value unless it is too large. The key's previous value is deleted."""
        is_too_large = self._size_of(value) > self._limit // 4
        with self._lock:
            self._values.pop(key, None)
            if not is_too_large:
                self._values[key] = value

    def clear(self) -> None:
        """Delete all values."""
        with self._lock:
            self._values.clear()
