"""Threads for work that may take minutes: what is built, fetched or copied for a function.

asyncio's own threads, as many as the machine has processors and four, are for work of moments.
Were all of them waiting for a download, nobody could read a log.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")


class Threads:
    """At most so many threads; further work waits for its turn."""

    def __init__(self, most: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(most, thread_name_prefix=name)

    async def run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Run blocking work and return what it returns, or raise what it raises."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, functools.partial(work, *arguments))


# More than the machine has processors: most of their time is spent waiting for the network.
preparing = Threads(16, "preparing")
# Apart from those: a request that brings code is answered when the code is here.
arriving = Threads(16, "arriving")
