"""Work in threads that can be given up: what is made ready for a function, above all.

A scope belongs to the thread that enters it, and everything called from there keeps to it: a wait,
a copy, a child process. So no function in between has to pass anything on.
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
POLL_INTERVAL_S: Final = 0.1  # how often it is looked whether the work is given up
_SCOPE: contextvars.ContextVar[threading.Event | None] = contextvars.ContextVar(
    "cancellation", default=None
)


@contextlib.contextmanager
def cancellable(cancel: threading.Event) -> Iterator[None]:
    """Have what runs in this block raise Cancelled soon after the event is set."""
    token = _SCOPE.set(cancel)
    try:
        yield
    finally:
        _SCOPE.reset(token)


def check_cancelled() -> None:
    """Raise Cancelled when the work of this scope is given up."""
    cancel = _SCOPE.get()
    if cancel is not None and cancel.is_set():
        raise Cancelled


def pause(seconds: float) -> None:
    """Sleep; raises Cancelled as soon as the work is given up."""
    cancel = _SCOPE.get() or threading.Event()
    if cancel.wait(seconds):
        raise Cancelled


def interruptible(work: Callable[[], Result]) -> Result:
    """Run what may hang where nothing reaches it (a name that is looked up, a silent server).

    It runs in a thread that is left to itself when the work is given up; it must call
    `check_cancelled` before each thing that it changes.
    """
    outcome: Future[Result] = Future()
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(_settle, outcome, work), daemon=True).start()
    try:
        while not wait([outcome], POLL_INTERVAL_S).done:
            check_cancelled()
        return outcome.result()
    finally:
        del outcome  # what it raised would hold this frame, and this frame it


def _settle(outcome: Future[Result], work: Callable[[], Result]) -> None:
    try:
        outcome.set_result(work())
    except BaseException as exc:
        outcome.set_exception(exc)
