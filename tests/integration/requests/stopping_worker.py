"""RQ workers that stop between dequeuing and running a job, so that a test can kill them."""

from __future__ import annotations

import time
from typing import Any

from rq import Worker


class StopsBeforeTheStart(Worker):
    """Stops after it dequeued the job, before Redis has the job as started."""

    def prepare_job_execution(self, *args: Any, **options: Any) -> None:
        time.sleep(600)


class StopsAfterTheStart(Worker):
    """Stops after Redis has the job as started, before the shard is claimed."""

    def prepare_job_execution(self, *args: Any, **options: Any) -> None:
        super().prepare_job_execution(*args, **options)
        time.sleep(600)
