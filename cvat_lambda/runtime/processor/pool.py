"""Free workers on one side, waiting calls on the other, first come first served."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class PoolClosed(Exception):
    """The pool gives nothing out any more."""


class Pool(Generic[Item]):
    """A FIFO pool; it knows nothing of what it holds."""

    def __init__(self) -> None:
        self._free: deque[Item] = deque()
        self._waiting: deque[asyncio.Future[Item]] = deque()
        self._closed = False

    @property
    def free(self) -> int:
        """How many items wait for a call."""
        return len(self._free)

    @property
    def waiting(self) -> int:
        """How many calls wait for an item."""
        return sum(1 for future in self._waiting if not future.done())

    def take_now(self) -> Item | None:
        """Return a free item, or None at once; an item is never free while a call waits."""
        return self._free.popleft() if self._free and not self._closed else None

    async def take(self, timeout_s: float) -> Item:
        """Return the next free item; raises TimeoutError after `timeout_s`, PoolClosed."""
        if self._closed:
            raise PoolClosed
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
            # The caller left in the very moment in which it was given an item: pass it on.
            if future.done() and not future.cancelled() and future.exception() is None:
                self.put(future.result())
            raise
        finally:
            handle.cancel()

    def put(self, item: Item) -> None:
        """Give an item to the call that waits longest, or keep it."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(item)
                return
        self._free.append(item)

    def remove(self, item: Item) -> None:
        """Forget a free item; nothing happens when it is not there."""
        if item in self._free:
            self._free.remove(item)

    def close(self) -> None:
        """Refuse every waiting and every later call."""
        self._closed = True
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(PoolClosed())


def _time_out(future: asyncio.Future[Item]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())
