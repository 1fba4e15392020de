"""Waiting in tests for what other threads and processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import psutil

Value = TypeVar("Value")


def wait_for(
    awaited: str,
    read: Callable[[], Value],
    holds: Callable[[Value], object] = bool,
    *,
    timeout_s: float = 180.0,
    pause_s: float = 0.05,
) -> Value:
    """Call `read` until `holds` is true for its value. Return that value.

    Raises:
        AssertionError: `holds` was false for `timeout_s`. The message says what was awaited, and
            the last value.
    """
    end = time.monotonic() + timeout_s
    while not holds(value := read()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout_s:g} s for {awaited}; last value: {value!r}")
        time.sleep(pause_s)
    return value


def has_ended(process: psutil.Process) -> bool:
    """Return whether a process has ended. A zombie has ended, too."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
