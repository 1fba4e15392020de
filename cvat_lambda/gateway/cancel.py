"""A token that ends calls in flight from another thread at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Cancelled(Exception):
    """The call was cancelled through its `CancelToken`; there is no answer."""


class CancelToken:
    """Any thread may cancel it, once. It ends every `wait` and interrupts every registered call.

    One token may serve many calls: a request gives the same token to all of its invocations.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._next = 0

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    def cancel(self) -> None:
        """End the calls in flight; later calls with this token do not start."""
        with self._lock:
            self._event.set()
            callbacks, self._callbacks = list(self._callbacks.values()), {}
        for callback in callbacks:
            callback()

    def check(self) -> None:
        """Raise Cancelled if the token is cancelled."""
        if self._event.is_set():
            raise Cancelled

    def wait(self, seconds: float) -> None:
        """Sleep for so many seconds. Raise Cancelled as soon as the token is cancelled."""
        if self._event.wait(max(0.0, seconds)):
            raise Cancelled

    @contextmanager
    def interrupting(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call ``callback`` from the cancelling thread if the token is cancelled in this block.

        Raise Cancelled if the token is cancelled already.
        """
        with self._lock:
            if self._event.is_set():
                raise Cancelled
            key = self._next = self._next + 1
            self._callbacks[key] = callback
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.pop(key, None)
