"""Helper processes of requests whose frames agents run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from cvat_lambda.engine import get_engine
from cvat_lambda.engine.standalone.tasks import create_task
from cvat_lambda.requests.control.recover import recover
from cvat_lambda.requests.rq_tasks import work_of
from cvat_lambda.requests.run.helper_processes import most_helpers
from cvat_lambda.requests.run.lease import claim
from cvat_lambda.requests.run.shard_context import load_run
from cvat_lambda.requests.store.models import Request
from cvat_lambda.server.processes import Child
from tests.integration.requests.conftest import make_images
from tests.waiting import wait_for

from .scripted import CAR, AgentThread, ScriptedAgent, car_at

FRAMES = 40  # the worker reads fewer ahead


def has_ended(request: Request) -> bool:
    recover()
    request.refresh_from_db()
    return request.status not in ("queued", "started")


@pytest.mark.skipif(most_helpers() < 1, reason="a helper needs a second core")
def test_helper_process_runs_a_part_of_a_request_of_a_native_detector(
    agent: ScriptedAgent,
    start: Callable[..., Request],
    alice: User,
    worker_process: Callable[..., Child],
    tmp_path: Path,
    settings: Settings,
) -> None:
    settings.CVAT_LAMBDA_AGENT_LEASE_S = 300.0
    task = create_task(alice, "street", [CAR], make_images(tmp_path / "images", FRAMES))
    [label] = get_engine().task(task.pk).labels
    assert label.id is not None
    car_id = label.id
    request = start(task_id=task.pk)

    def answer(params: dict[str, Any]) -> dict[str, Any]:
        """Answer the first frame when a helper process has a part of the frames."""
        wait_for(
            "a shard of a helper",
            lambda: request.shards.exclude(worker="").count() > 1,
            timeout_s=240,
        )
        return car_at(params, car_id)

    with AgentThread(agent, answer) as served:
        worker_process(
            CVAT_LAMBDA_HELPER_PROCESSES="1",
            CVAT_LAMBDA_HELPER_PROCESSOR_SHARE="0",
            CVAT_LAMBDA_HELPER_MIN_REMAINING_S="0",
            CVAT_LAMBDA_COLD_START_S="300",
        )
        wait_for("the end of the request", lambda: has_ended(request), timeout_s=300)
    assert (request.status, request.done, request.failed) == ("finished", FRAMES, 0)
    shapes = get_engine().annotations(task.pk).shapes
    assert sorted(shape.frame for shape in shapes) == list(range(FRAMES))
    assert sorted(params["frame"] for params in served.served) == list(range(FRAMES))
    workers = {shard.worker for shard in request.shards.all()}
    assert len(workers) > 1


@pytest.mark.parametrize(("output", "divisible"), [("shapes", True), ("tracks", False)])
def test_request_of_a_native_detector_is_divisible_unless_it_makes_tracks(
    agent: ScriptedAgent, start: Callable[..., Request], output: str, divisible: bool
) -> None:
    request = start(output=output)
    lease = claim(request.shards.get().pk)
    assert lease is not None
    assert work_of(load_run(lease)).divisible is divisible
