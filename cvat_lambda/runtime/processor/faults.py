"""How a start or a call of a function can fail."""

from __future__ import annotations


class StartFailed(Exception):
    """A worker could not load the function."""


class EventTimedOut(Exception):
    """The handler took longer than spec.eventTimeout and was killed."""


class NoWorkerFree(Exception):
    """Every worker was busy for the whole availability timeout."""
