"""Each scenario of the benchmarks briefly, in one process: do the benchmarks still run?

The suites that need Django share one PostgreSQL server, one Redis server and one set of images.
The figures of such a short run say nothing about speed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.bench import (
    agents,
    associated_tracks,
    batch,
    calls,
    connections,
    functions,
    load,
    memory,
    runtime,
    scale,
    tracking,
)
from tests.bench.stand import stand


def run() -> Iterator[dict[str, Any]]:
    """Yield the rows of all suites."""
    with stand() as place:
        yield from batch.measure(place, set(), short=True)
        yield from calls.measure(place, short=True)
        yield from connections.measure(place.home, short=True)
        yield from load.measure(short=True)
        yield from memory.measure(place, short=True)
        yield from agents.measure(place, short=True)
        yield from associated_tracks.measure(place, short=True)
        # Last, because a worker would take the queued requests that it adds to the database.
        yield from scale.measure(scale.fill(scale.SHORT))
    yield from runtime.run(short=True)
    yield from tracking.measure_trackers(short=True)
    yield from functions.run(short=True, only=functions.SHORT[:1])
