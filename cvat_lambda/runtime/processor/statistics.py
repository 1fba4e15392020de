"""Counters of a processor. Unlike those of Nuclio 1.14.1, the durations are not always 0."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True, kw_only=True)
class WorkerStatistics:
    """Counters of one worker. They are kept when the worker is restarted."""

    events: int = 0
    duration_ms_sum: float = 0.0  # time in the handler only
    restarts: int = 0


@dataclass(slots=True, kw_only=True)
class Statistics:
    """Counters of one function since its processor started."""

    succeeded: int = 0  # answered by the handler with any status
    failed: int = 0  # timed out, or the worker died
    given_at_once: int = 0
    given_after_wait: int = 0
    refused: int = 0  # no worker became free in time
    wait_ms_sum: float = 0.0
    available_percent_sum: float = 0.0
    allocations: int = 0
    workers: list[WorkerStatistics] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)
