"""The positions of a worker pool."""

from __future__ import annotations

from cvat_lambda.runtime.processor.crash_loop import CrashLoopBackoff
from cvat_lambda.runtime.processor.worker_process import WorkerProcess
from cvat_lambda.runtime.worker.frames import Meta


class Worker:
    """One position in the pool. It keeps its number when its process is replaced."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: WorkerProcess | None = None
        self.captured: list[Meta] | None = None  # log records of the current call
        self.request_id = ""
        self.end_reason = ""  # why the processor killed the process, if it did
        self.backoff = CrashLoopBackoff()
