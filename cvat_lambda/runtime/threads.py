"""Thread pools for work that takes minutes: building, downloading and copying for a function.

asyncio's default pool has only four threads more than processors. If all of them waited for
downloads, no log could be read.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")


class ThreadPool:
    """A pool of threads; work waits until one is free."""

    def __init__(self, most: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(most, thread_name_prefix=name)

    async def run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Run blocking work and return what it returns, or raise what it raises."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, functools.partial(work, *arguments))


# More threads than processors, because they mostly wait for the network.
preparation_threads = ThreadPool(16, "preparation")
# A pool of its own, so that uploads do not wait for preparations.
upload_threads = ThreadPool(16, "upload")
