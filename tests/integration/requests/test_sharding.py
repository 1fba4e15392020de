"""A request with several shards, run by several workers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from pytest_django import Settings

from cvat_lambda.engine import get_engine
from cvat_lambda.errors import InvalidRequest
from cvat_lambda.functions.models import Function
from cvat_lambda.requests.control import create
from cvat_lambda.requests.control.cancel import cancel_request
from cvat_lambda.requests.store.models import Request
from cvat_lambda.server.processes import Child

from .conftest import MakeTask, Start, store_function
from .function_server import FunctionServer, frame_of, rectangle_of


def frames_of_shards(request: Request) -> list[Any]:
    return list(request.shards.order_by("index").values_list("frames", flat=True))


def test_shards_of_one_request_run_in_two_worker_processes_at_once(
    finder: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    worker_process: Callable[..., Child],
) -> None:
    """A frame of each half waits for one of the other half. One worker alone would time out."""
    task = make_task(40)
    halves = (threading.Event(), threading.Event())

    def behave(payload: dict[str, Any]) -> Any:
        frame = frame_of(payload)
        halves[frame // 20].set()
        assert halves[1 - frame // 20].wait(180)
        return rectangle_of(frame)

    function.behave = behave
    request = start(task_id=task.pk, shard_frames=20)
    assert frames_of_shards(request) == [[[0, 19]], [[20, 39]]]
    workers = [
        worker_process(
            burst=True,
            CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS="127.0.0.1/32",
            CVAT_LAMBDA_FUNCTIONS_REFRESH_S="0",
        )
        for _ in range(2)
    ]
    for worker in workers:
        worker.process.wait(300)
    request.refresh_from_db()
    assert (request.status, request.done, request.failed) == ("finished", 40, 0)
    shapes = get_engine().annotations(task.pk).shapes
    assert sorted(shape.frame for shape in shapes) == list(range(40))


def test_shards_start_at_the_first_frames_of_jobs(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(10, segment_size=4)
    request = start(task_id=task.pk, shard_frames=5)
    assert frames_of_shards(request) == [[[0, 3]], [[4, 7]], [[8, 9]]]


def test_shard_frames_of_a_request_overrides_the_setting(
    finder: Function, make_task: MakeTask, start: Start, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_SHARD_FRAMES = 3
    task = make_task(6)
    split = start(task_id=task.pk)
    assert frames_of_shards(split) == [[[0, 2]], [[3, 5]]]
    cancel_request(split)
    assert frames_of_shards(start(task_id=task.pk, shard_frames=0)) == [[[0, 5]]]


@pytest.mark.parametrize(
    ("function_id", "options", "sentence"),
    [
        ("finder", {"shard_frames": -1}, "0 or more"),
        ("finder", {"shard_frames": 1}, "makes 6 shards: give more frames to each"),
        ("matcher", {"shard_frames": 3}, "remove shard_frames"),
    ],
)
def test_invalid_shard_frames_are_refused(
    finder: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    function_id: str,
    options: dict[str, int],
    sentence: str,
) -> None:
    monkeypatch.setattr(create, "MAX_SHARDS", 5)
    store_function(function.url, "matcher", kind="reid", labels=[])
    with pytest.raises(InvalidRequest, match=sentence):
        start(function_id=function_id, task_id=make_task(6).pk, **options)
