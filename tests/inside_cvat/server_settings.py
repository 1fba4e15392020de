"""Settings of the server and the workers that the benchmark starts: queues with workers."""

from tests.inside_cvat.settings import *  # noqa: F403
from tests.inside_cvat.settings import RQ_QUEUES  # type: ignore[attr-defined]  # of CVAT

for queue in RQ_QUEUES.values():
    queue["ASYNC"] = True
