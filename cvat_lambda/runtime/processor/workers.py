"""The places of a crew, one a worker."""

from __future__ import annotations

from cvat_lambda.runtime.processor.link import WorkerLink
from cvat_lambda.runtime.processor.restarts import Restarts
from cvat_lambda.runtime.worker.frames import Meta


class Worker:
    """One place in the crew; its process may be replaced."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.link: WorkerLink | None = None
        self.captured: list[Meta] | None = None  # log records of the call in progress
        self.request_id = ""
        self.end_reason = ""  # why we killed it, when we did
        self.restarts = Restarts()
