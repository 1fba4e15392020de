"""Event streams of queues: their text, and streams in an event loop.

A stream ends after `MAX_AGE_S`, so that an agent whose token was revoked does not stay connected,
and so that a lost connection that nobody reported is cleaned up. The agent connects again.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from asgiref.sync import SyncToAsync, sync_to_async
from django.db import DatabaseError, connection, connections

from cvat_lambda.agents import presence, queue
from cvat_lambda.agents.wakeups import Wakeups, get_wakeups

KEEP_ALIVE_S: Final = 20.0  # proxies end connections without traffic, the soonest after 30 s
MAX_AGE_S: Final = 900.0
RECONNECT_S: Final = 1.0
PRESENCE_S: Final = 30.0  # between two signs of life of the functions with open streams
CONNECT_S: Final = 2.0  # the longest wait for this process' subscription

KEEP_ALIVE: Final = b": keep-alive\n"


def retry_line(seconds: float) -> bytes:
    """Return the line that says when to connect again after the end of a stream."""
    return b"retry: %d\n" % round(1000 * seconds)


def event(category: str) -> bytes:
    """Return the event that an entry of this category waits."""
    data = json.dumps({"request_category": category})
    return f"event: newrequest\ndata: {data}\n\n".encode()


def opening() -> bytes:
    """Return the beginning of a stream."""
    return retry_line(RECONNECT_S)


def is_possible() -> bool:
    """Return whether this process gets wake-ups. Otherwise agents must poll."""
    return _wakeups().wait_until_connected(CONNECT_S)


def missed(native_pk: int) -> list[str]:
    """Return the categories of entries that wait already when a stream is opened."""
    return queue.waiting_categories(native_pk)


class Timer:
    """Says when a stream sends a keep-alive line and when it ends."""

    def __init__(self, max_age_s: float = MAX_AGE_S) -> None:
        self._max_age_s = max_age_s
        self._opened_at = self._sent_at = time.monotonic()

    def sent(self) -> None:
        """Note that something was sent."""
        self._sent_at = time.monotonic()

    def is_due(self, now: float) -> bool:
        """Return whether a keep-alive line is due."""
        return now - self._sent_at >= KEEP_ALIVE_S

    def is_over(self, now: float) -> bool:
        """Return whether the stream ends."""
        return now - self._opened_at >= self._max_age_s


class LoopStream:
    """A stream of an ASGI server: the thread of the wake-ups fills the queue of a coroutine."""

    def __init__(self, native_pk: int, loop: asyncio.AbstractEventLoop) -> None:
        self.native_pk = native_pk
        self.lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._loop = loop
        self._timer = Timer()
        self._ended = False

    def notify(self, category: str) -> None:
        """Send an event."""
        self._put(event(category))

    def tick(self, now: float) -> bool:
        """Send a keep-alive line if it is due."""
        if self._timer.is_over(now):
            self.close()
        elif self._timer.is_due(now):
            self._put(KEEP_ALIVE)
        return not self._ended

    def close(self) -> None:
        """End the stream."""
        self._put(None)
        self._ended = True

    def _put(self, line: bytes | None) -> None:
        self._timer.sent()
        try:
            self._loop.call_soon_threadsafe(self.lines.put_nowait, line)
        except RuntimeError:  # the loop is closed
            self._ended = True


async def events(
    native_pk: int, when_left: Callable[[], asyncio.Future[None]]
) -> AsyncIterator[bytes]:
    """Yield the bytes of a stream until it ends.

    ``when_left`` returns a future that is done when the client has left.
    """
    stream = LoopStream(native_pk, asyncio.get_running_loop())
    wakeups = _wakeups()
    wakeups.add(stream)
    left = when_left()
    left.add_done_callback(lambda _: stream.close())
    try:
        yield opening()
        categories = await sync_to_async(missed)(native_pk)
        await _release_thread()
        for category in categories:
            yield event(category)
        while (line := await stream.lines.get()) is not None:
            yield line
    finally:
        left.cancel()
        wakeups.discard(stream)


async def polling(seconds: float) -> AsyncIterator[bytes]:
    """Yield a short answer that says when to connect again."""
    yield retry_line(seconds)


async def _release_thread() -> None:
    """End the thread of this HTTP request, and close its connections to the database.

    Django serves each request of an ASGI server in a thread of its own, and keeps this thread until
    the response has ended. What runs in the context later gets a new thread.
    """
    await sync_to_async(connections.close_all)()
    context = SyncToAsync.thread_sensitive_context.get(None)
    if context is not None:
        executor = SyncToAsync.context_to_thread_executor.pop(context, None)
        if executor is not None:
            executor.shutdown(wait=False)


class _PresenceOfWatched:
    """Notes every `PRESENCE_S` seconds that functions have open streams."""

    def __init__(self) -> None:
        self._noted_at: dict[int, float] = {}

    def __call__(self, watched: set[int]) -> None:
        now = time.monotonic()
        due = {pk for pk in watched if now - self._noted_at.get(pk, -PRESENCE_S) >= PRESENCE_S}
        self._noted_at = {pk: at for pk, at in self._noted_at.items() if pk in watched}
        if not due:
            return
        self._noted_at.update(dict.fromkeys(due, now))
        try:
            presence.note_watched(due)
        except DatabaseError:
            pass  # the next round notes it
        finally:
            connection.close()


_watching: Wakeups | None = None


def _wakeups() -> Wakeups:
    """Return the wake-ups of this process, which also note the presence of watching agents."""
    global _watching
    wakeups = get_wakeups()
    if _watching is not wakeups:
        _watching = wakeups
        wakeups.each_round(_PresenceOfWatched())
    return wakeups
