"""Errors of a processor."""

from __future__ import annotations


class StartFailed(Exception):
    """A worker did not load the function."""

    def __init__(self, message: str, *, transient: bool = True) -> None:
        super().__init__(message)
        self.transient = transient  # whether another attempt may succeed


class EventTimedOut(Exception):
    """The handler took longer than spec.eventTimeout; its worker was killed."""


class NoWorkerFree(Exception):
    """No worker became free within the availability timeout."""


class WorkerEnded(Exception):
    """The worker process ended before it answered."""
