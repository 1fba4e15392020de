"""RQ workers that stop on the way from the queue to a job, so that a test can kill them there."""

from __future__ import annotations

import time
from typing import Any

from rq import Worker


class StopsBeforeTheStart(Worker):
    """It has taken the job off the list, and Redis knows of no start."""

    def prepare_job_execution(self, *args: Any, **options: Any) -> None:
        time.sleep(600)


class StopsAfterTheStart(Worker):
    """Redis has the job as started, and the shard is not claimed."""

    def prepare_job_execution(self, *args: Any, **options: Any) -> None:
        super().prepare_job_execution(*args, **options)
        time.sleep(600)
