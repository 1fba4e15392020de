"""Drain replaced versions of a function: they finish their calls in flight and then end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from cvat_lambda.runtime.deploy.processor_handle import ProcessorHandle
from cvat_lambda.runtime.spec.function_file import FunctionConfig

LEAST_DRAIN_S: Final = 60.0
DRAIN_MARGIN_S: Final = 15.0  # for upload and answer of a call
NOTICE_S: Final = 60.0
NOTICE: Final = (
    "a call that began before the update still runs in the version before it; "
    "without spec.eventTimeout it may take as long as it likes"
)


def drain_limit_s(config: FunctionConfig) -> float | None:
    """Return how long a replaced version may take to finish its calls; None = no limit.

    A call waits for a worker and then runs for up to spec.eventTimeout. An update keeps both.
    """
    if config.event_timeout_s is None:
        return None
    longest = config.trigger.availability_timeout_s + config.event_timeout_s + DRAIN_MARGIN_S
    return max(LEAST_DRAIN_S, longest)


class DrainingProcessors:
    """The processors that are draining. They can be killed while others wait for them."""

    def __init__(self, on_overdue: Callable[[str], None]) -> None:
        self._handles: set[ProcessorHandle] = set()
        self._overdue: set[ProcessorHandle] = set()
        self._on_overdue = on_overdue

    @property
    def notice(self) -> str:
        """A sentence if a version without a time limit takes long to end, else ""."""
        return NOTICE if self._overdue else ""

    async def drain(
        self, handle: ProcessorHandle, limit_s: float | None, *, grace_s: float = 0.0
    ) -> None:
        """Wait until the processor has ended; see ProcessorHandle.drain."""
        self._handles.add(handle)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(NOTICE_S, self._report, handle) if limit_s is None else None
        try:
            await handle.drain(limit_s, grace_s=grace_s)
        finally:
            self._handles.discard(handle)
            self._overdue.discard(handle)
            if timer is not None:
                timer.cancel()

    async def kill(self) -> None:
        """Kill all of them."""
        await asyncio.gather(*(handle.kill() for handle in self._handles))

    def _report(self, handle: ProcessorHandle) -> None:
        self._overdue.add(handle)
        self._on_overdue(NOTICE)
