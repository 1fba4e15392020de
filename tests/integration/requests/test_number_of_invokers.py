"""The number of invokers of a run follows the function's workers in the registry."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cvat_lambda.functions.models import Function
from cvat_lambda.requests.control.cancel import cancel_request
from cvat_lambda.server.processes import Child
from tests.ports import closed_port
from tests.waiting import wait_for

from .conftest import MakeTask, Start
from .function_server import FunctionServer, frame_of, rectangle_of


def give_workers(function: Function, workers: int) -> None:
    """Store the number of workers as a refresh of the registry does."""
    function.metadata["spec"]["triggers"]["http"]["numWorkers"] = workers
    function.save()


def most_of_the_next(calls: int, function: FunctionServer) -> int:
    """Return the highest number of concurrent invocations among the next ones."""
    with function.lock:
        function.most_at_once = 0
        seen = len(function.seen)
    wait_for(
        "the next invocations", lambda: len(function.seen), lambda found: found >= seen + calls
    )
    return function.most_at_once


def test_number_of_invokers_follows_the_number_of_function_workers(
    finder: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    worker_process: Callable[..., Child],
) -> None:
    """After a function was scaled to 16 workers, the run kept 4 invocations in flight."""

    def behave(payload: dict[str, Any]) -> Any:
        time.sleep(0.8)
        return rectangle_of(frame_of(payload))

    function.behave = behave
    request = start(task_id=make_task(600).pk)
    worker_process(
        CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS="127.0.0.1/32",
        CVAT_LAMBDA_FUNCTIONS_REFRESH_S="0.3",
        CVAT_LAMBDA_PLATFORM_URL=f"http://127.0.0.1:{closed_port()}",
    )
    try:
        wait_for("two invocations at once", lambda: function.most_at_once, lambda found: found >= 2)
        time.sleep(1.0)
        assert function.most_at_once <= 4
        give_workers(finder, 16)
        wait_for("16 invocations at once", lambda: function.most_at_once, lambda found: found >= 16)
        give_workers(finder, 2)
        wait_for(
            "2 to 4 at once", lambda: most_of_the_next(12, function), lambda found: 2 <= found <= 4
        )
    finally:
        cancel_request(request)


def test_run_with_a_changing_number_of_invokers_runs_every_frame_once(
    finder: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    worker_process: Callable[..., Child],
) -> None:
    def behave(payload: dict[str, Any]) -> Any:
        time.sleep(0.02)
        return rectangle_of(frame_of(payload))

    function.behave = behave
    request = start(task_id=make_task(400).pk)
    worker_process(
        CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS="127.0.0.1/32",
        CVAT_LAMBDA_FUNCTIONS_REFRESH_S="0.1",
        CVAT_LAMBDA_PLATFORM_URL=f"http://127.0.0.1:{closed_port()}",
    )
    workers = [12, 1]
    while request.status in ("queued", "started"):
        give_workers(finder, workers[0])
        workers.reverse()
        time.sleep(0.6)
        request.refresh_from_db()
    assert (request.status, request.done) == ("finished", 400)
    assert sorted(function.seen) == list(range(400))
