"""A bounded queue between the threads of a run: it bounds the memory that the run takes."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class QueueStopped(Exception):
    """The queue was stopped: the run is aborted."""


class BoundedQueue(Generic[T]):
    """A FIFO queue bounded by count and bytes. An empty queue takes an item of any size."""

    def __init__(self, *, max_items: int, max_bytes: int = 1 << 62) -> None:
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._max_items = max(1, max_items)
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._not_full = threading.Condition(self._lock)
        self._not_empty = threading.Condition(self._lock)
        self._closed = False
        self._stopped = False

    def put(self, item: T, size: int = 0) -> None:
        """Wait until the item fits, then add it. Raise QueueStopped."""
        with self._lock:
            while not self._stopped and self._items and not self._has_room(size):
                self._not_full.wait()
            if self._stopped:
                raise QueueStopped
            self._items.append((item, size))
            self._bytes += size
            self._not_empty.notify()

    def get(self, timeout_s: float | None = None) -> T | None:
        """Return the next item; None if the queue is closed and empty, or after the timeout.

        Raise QueueStopped.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        with self._lock:
            while not self._items and not self._closed and not self._stopped:
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._not_empty.wait(left)
            if self._stopped:
                raise QueueStopped
            if not self._items:
                return None
            item, size = self._items.popleft()
            self._bytes -= size
            self._not_full.notify()
            return item

    def resize(self, max_items: int) -> None:
        """Change the maximum count; items beyond it stay in the queue."""
        with self._lock:
            self._max_items = max(1, max_items)
            self._not_full.notify_all()

    @property
    def ended(self) -> bool:
        """Whether the queue is closed and empty."""
        with self._lock:
            return self._closed and not self._items

    def close(self) -> None:
        """Declare that no more items will be put."""
        with self._lock:
            self._closed = True
            self._not_empty.notify_all()

    def stop(self) -> None:
        """Drop all items, and make every `put` and `get` raise QueueStopped."""
        with self._lock:
            self._stopped = True
            self._items.clear()
            self._not_empty.notify_all()
            self._not_full.notify_all()

    def _has_room(self, size: int) -> bool:
        return len(self._items) < self._max_items and self._bytes + size <= self._max_bytes
