"""A queue of free resources: callers wait for one in the order in which they came."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class QueueClosed(Exception):
    """The queue is closed and returns no items."""


class ResourceQueue(Generic[Item]):
    """Free items and waiting callers, both first in, first out."""

    def __init__(self) -> None:
        self._free: deque[Item] = deque()
        self._waiting: deque[asyncio.Future[Item]] = deque()
        self._closed = False

    @property
    def free(self) -> int:
        """How many items are free."""
        return len(self._free)

    @property
    def waiting(self) -> int:
        """How many callers wait for an item."""
        return sum(1 for future in self._waiting if not future.done())

    def take_now(self) -> Item | None:
        """Return a free item, or None at once. No item is free while a caller waits."""
        return self._free.popleft() if self._free and not self._closed else None

    async def take(self, timeout_s: float) -> Item:
        """Return the next free item; raise TimeoutError after `timeout_s`, QueueClosed."""
        if self._closed:
            raise QueueClosed
        if self._free:
            return self._free.popleft()
        if timeout_s <= 0:
            raise TimeoutError
        future: asyncio.Future[Item] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        handle = asyncio.get_running_loop().call_later(timeout_s, _time_out, future)
        try:
            return await future
        except asyncio.CancelledError:
            # The caller was cancelled after it got an item, so the next caller gets it.
            if future.done() and not future.cancelled() and future.exception() is None:
                self.put(future.result())
            raise
        finally:
            handle.cancel()

    def put(self, item: Item) -> None:
        """Give an item to the caller that has waited longest, or keep it."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(item)
                return
        self._free.append(item)

    def remove(self, item: Item) -> None:
        """Remove a free item; do nothing if it is not free."""
        if item in self._free:
            self._free.remove(item)

    def close(self) -> None:
        """Raise QueueClosed for every waiting and every later caller."""
        self._closed = True
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(QueueClosed())


def _time_out(future: asyncio.Future[Item]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())
