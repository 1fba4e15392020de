"""A handle that ends calls in flight from another thread, at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class CallAbandoned(Exception):
    """The call was abandoned through its `Cancel` handle; there is no answer."""


class Cancel:
    """Set once, from any thread; ends what was registered with `interrupting` and every `wait`.

    One handle may serve many calls: a request gives the same to all its invocations.
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
        """Abandon the calls in flight; later calls with this handle do not start."""
        with self._lock:
            self._event.set()
            callbacks, self._callbacks = list(self._callbacks.values()), {}
        for callback in callbacks:
            callback()

    def check(self) -> None:
        """Raise CallAbandoned if the handle is set."""
        if self._event.is_set():
            raise CallAbandoned

    def wait(self, seconds: float) -> None:
        """Sleep so long. Raise CallAbandoned as soon as the handle is set."""
        if self._event.wait(max(0.0, seconds)):
            raise CallAbandoned

    @contextmanager
    def interrupting(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call ``callback`` from the cancelling thread if the handle is set inside the block.

        Raises CallAbandoned where the handle is set already.
        """
        with self._lock:
            if self._event.is_set():
                raise CallAbandoned
            key = self._next = self._next + 1
            self._callbacks[key] = callback
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.pop(key, None)
