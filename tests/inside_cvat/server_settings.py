"""Settings of processes that the tests and the benchmark start: RQ jobs wait for a worker."""

from tests.inside_cvat.settings import *  # noqa: F403
from tests.inside_cvat.settings import RQ_QUEUES  # type: ignore[attr-defined]  # of CVAT

for queue in RQ_QUEUES.values():
    queue["ASYNC"] = True
