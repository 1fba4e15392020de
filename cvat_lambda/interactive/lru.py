"""A least-recently-used cache of values that weigh bytes, for the threads of one process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

V = TypeVar("V")


class ByteLru(Generic[V]):
    """Values by key, at most ``limit_bytes`` of them, the least recently used dropped first.

    A value heavier than a quarter of the limit is not kept: it would push out all others.
    """

    def __init__(self, limit_bytes: int, *, weigh: Callable[[V], int]) -> None:
        self._limit = limit_bytes
        self._weigh = weigh
        self._size = 0
        self._lock = threading.Lock()
        self._values: OrderedDict[str, V] = OrderedDict()

    @property
    def size_bytes(self) -> int:
        """Weight of what is kept."""
        return self._size

    def get(self, key: str) -> V | None:
        """The value, now the most recently used; None if it is not kept."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: str, value: V) -> None:
        """Keep a value, if it is not too heavy."""
        weight = self._weigh(value)
        with self._lock:
            self._forget(key)
            if weight > self._limit // 4:
                return
            self._values[key] = value
            self._size += weight
            while self._size > self._limit:
                self._forget(next(iter(self._values)))

    def drop(self, key: str) -> None:
        """Forget a value; one that is not kept is no error."""
        with self._lock:
            self._forget(key)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._values.clear()
            self._size = 0

    def _forget(self, key: str) -> None:
        value = self._values.pop(key, None)
        if value is not None:
            self._size -= self._weigh(value)
