"""Wake-ups between processes, by publish/subscribe of Redis. The database holds the truth.

A wake-up says that an entry waits for agents, that an entry has ended, or that a function was
deleted. Each process has at most one subscription and one thread for all callers and event
streams. While Redis does not answer, callers poll the database, and event streams are closed, so
that agents poll.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from redis.exceptions import RedisError

from cvat_lambda.redis_client import CircuitBreaker, connect

logger = logging.getLogger(__name__)

CHANNEL: Final = "cvat_lambda:agents"
TICK_S: Final = 1.0  # between two rounds of a subscription that gets no message


class EventStream(Protocol):
    """An open event stream. The methods return at once and may be called from any thread."""

    native_pk: int

    def notify(self, category: str) -> None:
        """Send the event that an entry of this category waits."""

    def tick(self, now: float) -> bool:
        """Do what is due at this ``time.monotonic()``; return False if the stream has ended."""

    def close(self) -> None:
        """End the stream."""


def publish_work(native_pk: int, category: str) -> None:
    """Wake the agents of a function: an entry of this category waits."""
    get_wakeups().publish(f"work:{native_pk}:{category}")


def publish_end(entry_id: int) -> None:
    """Wake the caller of an entry, which has ended."""
    get_wakeups().publish(f"end:{entry_id}")


def publish_deleted(native_pk: int) -> None:
    """End the event streams of a function."""
    get_wakeups().publish(f"deleted:{native_pk}")


class Wakeups:
    """The subscription of this process, and a client that publishes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callers: dict[str, threading.Event] = {}  # by the id of their entry
        self._streams: dict[int, set[EventStream]] = defaultdict(set)
        self._thread: threading.Thread | None = None
        self._client: Any = None
        self._breaker = CircuitBreaker()
        self._connected = threading.Event()
        self._rounds: list[Callable[[set[int]], None]] = []

    @property
    def is_connected(self) -> bool:
        """Whether this process gets wake-ups now."""
        return self._connected.is_set()

    def publish(self, message: str) -> None:
        """Send a wake-up to all processes. If Redis does not answer, it is lost."""
        if self._breaker.is_open:
            return
        try:
            if self._client is None:
                self._client = connect()
            self._client.publish(CHANNEL, message)
        except (RedisError, OSError) as exc:
            self._breaker.trip()
            logger.info(
                "Redis does not answer: callers and agents of native functions poll. %s",
                exc,
                extra={"action": "wakeup_failed"},
            )

    @contextmanager
    def end_of(self, entry_id: int) -> Iterator[threading.Event]:
        """Return an event that is set when the entry ends."""
        event, key = threading.Event(), str(entry_id)
        with self._lock:
            self._callers[key] = event
        self._subscribe()
        try:
            yield event
        finally:
            with self._lock:
                self._callers.pop(key, None)

    def add(self, stream: EventStream) -> None:
        """Notify an event stream of entries, until `discard` or its end."""
        with self._lock:
            self._streams[stream.native_pk].add(stream)
        self._subscribe()

    def discard(self, stream: EventStream) -> None:
        """Forget an event stream."""
        with self._lock:
            streams = self._streams.get(stream.native_pk)
            if streams is not None:
                streams.discard(stream)
                if not streams:
                    del self._streams[stream.native_pk]

    def each_round(self, call: Callable[[set[int]], None]) -> None:
        """Call a function every second with the native functions whose agents are connected."""
        self._rounds.append(call)

    def wait_until_connected(self, timeout_s: float) -> bool:
        """Return whether this process gets wake-ups, after at most so many seconds."""
        self._subscribe()
        return self._connected.wait(timeout_s)

    def stop(self) -> None:
        """End the thread and all streams."""
        with self._lock:
            self._thread = None
        self._connected.clear()
        self._close_streams()

    def _subscribe(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="cvat-lambda-wakeups", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        pause = threading.Event()
        while self._thread is threading.current_thread():
            try:
                self._listen()
            except (RedisError, OSError) as exc:
                logger.info(
                    "the wake-ups of native functions are interrupted: %s",
                    exc,
                    extra={"action": "wakeup_failed"},
                )
            finally:
                # After `stop`, the streams belong to the thread that was started next.
                if self._thread is threading.current_thread():
                    self._connected.clear()
                    self._close_streams()
            pause.wait(TICK_S)

    def _listen(self) -> None:
        client: Any = connect()
        with client.pubsub(ignore_subscribe_messages=False) as subscription:
            subscription.subscribe(CHANNEL)
            round_at = 0.0
            while self._thread is threading.current_thread():
                message = subscription.get_message(timeout=TICK_S)
                if message is not None and message["type"] == "subscribe":
                    self._connected.set()
                elif message is not None and message["type"] == "message":
                    self._dispatch(message["data"].decode(errors="replace"))
                now = time.monotonic()
                if now >= round_at:
                    round_at = now + TICK_S
                    self._round(now)

    def _dispatch(self, message: str) -> None:
        """Pass a message on. Ignore unknown ones: another version of the app may send them."""
        kind, _, rest = message.partition(":")
        number, _, category = rest.partition(":")
        if kind == "end":
            event = self._callers.get(rest)
            if event is not None:
                event.set()
        elif kind in ("work", "deleted") and number.isdecimal():
            for stream in self._of(int(number)):
                if kind == "work":
                    stream.notify(category)
                else:
                    self.discard(stream)
                    stream.close()

    def _of(self, native_pk: int) -> list[EventStream]:
        with self._lock:
            return list(self._streams.get(native_pk, ()))

    def _round(self, now: float) -> None:
        with self._lock:
            streams = [stream for group in self._streams.values() for stream in group]
        for stream in streams:
            if not stream.tick(now):
                self.discard(stream)
        with self._lock:
            watched = {native_pk for native_pk, streams in self._streams.items() if streams}
        for call in self._rounds:
            try:
                call(watched)
            except Exception:
                logger.exception("a round of the event streams", extra={"action": "wakeup_failed"})

    def _close_streams(self) -> None:
        with self._lock:
            streams = [stream for group in self._streams.values() for stream in group]
            self._streams.clear()
        for stream in streams:
            stream.close()


_lock = threading.Lock()
_wakeups: Wakeups | None = None


def get_wakeups() -> Wakeups:
    """Return the wake-ups of this process."""
    global _wakeups
    if _wakeups is None:
        with _lock:
            if _wakeups is None:
                _wakeups = Wakeups()
    return _wakeups


def _begin_anew() -> None:
    """Give a forked process its own subscription."""
    global _wakeups, _lock
    _wakeups, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_begin_anew)
