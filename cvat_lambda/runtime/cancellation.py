"""Cancellation of work in threads, such as the preparation of a function.

The event is kept in a context variable, so that functions need not pass it on. Waits, copies and
child processes check it.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from typing import Final, TypeVar

from cvat_lambda.runtime.errors import Cancelled

Result = TypeVar("Result")
POLL_INTERVAL_S: Final = 0.1  # between two checks for a cancellation
_SCOPE: contextvars.ContextVar[threading.Event | None] = contextvars.ContextVar(
    "cancellation", default=None
)


@contextlib.contextmanager
def cancellable(cancel: threading.Event) -> Iterator[None]:
    """Make the code in this block raise Cancelled soon after the event is set."""
    token = _SCOPE.set(cancel)
    try:
        yield
    finally:
        _SCOPE.reset(token)


def check_cancelled() -> None:
    """Raise Cancelled if the current work is cancelled."""
    cancel = _SCOPE.get()
    if cancel is not None and cancel.is_set():
        raise Cancelled


def pause(seconds: float) -> None:
    """Sleep; raise Cancelled as soon as the work is cancelled."""
    cancel = _SCOPE.get() or threading.Event()
    if cancel.wait(seconds):
        raise Cancelled


def interruptible(work: Callable[[], Result]) -> Result:
    """Run work that may block without checks, such as a DNS query or a silent server.

    The work runs in a thread, which is abandoned on cancellation. It must call `check_cancelled`
    before each change that it makes.
    """
    outcome: Future[Result] = Future()
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(_settle, outcome, work), daemon=True).start()
    try:
        while not wait([outcome], POLL_INTERVAL_S).done:
            check_cancelled()
        return outcome.result()
    finally:
        del outcome  # otherwise the exception and this frame would reference each other


def _settle(outcome: Future[Result], work: Callable[[], Result]) -> None:
    try:
        outcome.set_result(work())
    except BaseException as exc:
        outcome.set_exception(exc)
