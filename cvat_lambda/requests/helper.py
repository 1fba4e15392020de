"""``python -m cvat_lambda.requests.helper``: a process that runs shards for a worker's run.

The protocol is that of `run.helper_processes`. If the input ends while a shard runs, the worker
was stopped or killed: the shard returns to the queue.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable


class Parent(threading.Thread):
    """Reads the ids of shards. The end of the input stops the run of a shard."""

    def __init__(self) -> None:
        super().__init__(name="parent", daemon=True)
        self.shard_ids: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self.has_ended = False
        self._lock = threading.Lock()
        self._stop_run: Callable[[], None] | None = None

    def run(self) -> None:
        """Read to the end of the input."""
        # Without a buffer, whose lock a thread that waits would hold when the process ends.
        for line in open(0, "rb", buffering=0, closefd=False):  # noqa: SIM115
            self.shard_ids.put(int(line))
        with self._lock:
            self.has_ended = True
            stop_run = self._stop_run
        if stop_run is not None:
            stop_run()
        self.shard_ids.put(None)

    def call_at_end(self, stop_run: Callable[[], None] | None) -> None:
        """Call ``stop_run`` when the input ends, at once if it has ended."""
        with self._lock:
            self._stop_run = stop_run
            has_ended = self.has_ended
        if has_ended and stop_run is not None:
            stop_run()


class ParentStop:
    """Tells a run that the worker was stopped; it has the methods of `rq_tasks.StopWatch`."""

    def __init__(self, parent: Parent, stop: Callable[[], None]) -> None:
        self._parent = parent
        self._stop_run = stop

    @property
    def is_stopping(self) -> bool:
        """Whether the worker was stopped."""
        return self._parent.has_ended

    def start(self) -> None:
        """Call ``stop`` when the input ends."""
        self._parent.call_at_end(self._stop_run)

    def end(self) -> None:
        """Do not call it any more."""
        self._parent.call_at_end(None)


def main() -> None:
    """Run shards until the input ends."""
    # The worker ends its helpers. An interrupt from the terminal is for the worker.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ready = os.dup(1)
    os.dup2(2, 1)  # what others print must not count as an answer
    import django

    django.setup()
    from cvat_lambda.requests import rq_tasks

    # From here on the worker does not end this process by a signal while it runs a shard.
    parent = Parent()
    parent.start()
    os.write(ready, b"\n")
    while (shard_id := parent.shard_ids.get()) is not None:
        if not parent.has_ended:
            rq_tasks.run_shard(shard_id, stop=lambda stop: ParentStop(parent, stop), helpers=False)
            os.write(ready, b"\n")


if __name__ == "__main__":
    main()
