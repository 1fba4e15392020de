"""A work horse must not outlive its worker. It could call functions of another server."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

import django_rq
import psutil
import pytest

from cvat_lambda.server.processes import Child
from tests.object_store import CREDENTIALS
from tests.waiting import has_ended, wait_for


@pytest.mark.django_db(transaction=True)
def test_work_horse_ends_when_its_worker_is_killed(
    spawn: Callable[..., Child], child_env: dict[str, str]
) -> None:
    job = django_rq.get_queue("annotation").enqueue("time.sleep", 300)
    command = [sys.executable, "manage.py", "rqworker", "annotation", "--skip-checks"]
    command += ["--worker-class", "cvat_lambda.server.worker.LinkedWorker"]
    worker = psutil.Process(spawn("worker", command, child_env).process.pid)
    (horse,) = wait_for("a work horse", worker.children)
    # The horse sets this status itself, after it has set up its signals.
    wait_for(
        "the start of the job",
        lambda: job.get_status(refresh=True),
        lambda found: found == "started",
    )
    os.kill(worker.pid, signal.SIGKILL)
    wait_for("the end of the work horse", lambda: has_ended(horse))


@pytest.mark.django_db(transaction=True)
def test_work_horse_has_the_modules_of_a_request_imported(
    spawn: Callable[..., Child], child_env: dict[str, str]
) -> None:
    """Imports in each RQ job took a third of the time until a request's first frame."""
    wanted = [
        "cvat_lambda.requests.rq_tasks",
        "cvat_lambda.engine.standalone.adapter",
        "boto3.resources.factory",
    ]
    expression = f"[name in __import__('sys').modules for name in {wanted}]"
    job = django_rq.get_queue("annotation").enqueue("builtins.eval", expression)
    command = [sys.executable, "manage.py", "rqworker", "annotation", "--burst"]
    command += ["--skip-checks"]
    command += ["--worker-class", "cvat_lambda.server.worker.LinkedWorker"]
    bucket = {**CREDENTIALS, "CVAT_LAMBDA_S3_BUCKET": "media"}  # boto3 looks for no credentials
    worker = spawn("worker", command, {**child_env, **bucket})
    assert worker.process.wait(300) == 0, worker.last_words()
    assert job.return_value(refresh=True) == [True] * 3
