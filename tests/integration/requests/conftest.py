from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django_rq
import pytest
from django.contrib.auth.models import User
from PIL import Image
from pytest_django import Settings
from rq.job import Job

from cvat_lambda.engine.standalone.access import StandaloneAccess
from cvat_lambda.engine.standalone.models import Task
from cvat_lambda.engine.standalone.tasks import create_task
from cvat_lambda.functions.models import Function
from cvat_lambda.gateway.cancel import CancelToken
from cvat_lambda.gateway.gateway import get_gateway
from cvat_lambda.requests import rq_tasks
from cvat_lambda.requests.control.create import create_request
from cvat_lambda.requests.run.lease import claim, requeue_shard
from cvat_lambda.requests.run.shard_context import load_run
from cvat_lambda.requests.store.models import Request, Shard

from .function_server import FunctionServer, function_server

CAR = [{"name": "car", "type": "rectangle"}]
ALLOWED = ("127.0.0.1/32",)
MakeTask = Callable[..., Task]
Start = Callable[..., Request]


@pytest.fixture(autouse=True)
def quiet_settings(settings: Settings, clean_redis: str) -> None:
    """Disable the background refresh of the registry. Allow a long cold start."""
    settings.CVAT_LAMBDA_FUNCTIONS_REFRESH_S = 0
    settings.CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS = ALLOWED
    settings.CVAT_LAMBDA_COLD_START_S = 60.0


@pytest.fixture
def function() -> Iterator[FunctionServer]:
    """A function's HTTP server."""
    with function_server() as server:
        yield server
        get_gateway().reset()


def store_function(
    url: str,
    function_id: str = "finder",
    *,
    kind: str = "detector",
    labels: list[dict[str, Any]] | None = None,
    workers: int = 2,
    **annotations: str,
) -> Function:
    """Add a function to the registry that is a plain HTTP endpoint."""
    return Function.objects.create(
        id=function_id,
        platform="endpoint",
        kind=kind,
        endpoint_url=url,
        metadata={
            "metadata": {
                "name": function_id,
                "annotations": {
                    "type": kind,
                    "name": function_id,
                    "spec": json.dumps(CAR if labels is None else labels),
                    **annotations,
                },
            },
            "spec": {
                "triggers": {
                    "http": {
                        "kind": "http",
                        "numWorkers": workers,
                        "attributes": {"maxRequestBodySize": 33554432},
                    }
                }
            },
            "status": {"state": "ready"},
        },
    )


@pytest.fixture
def finder(transactional_db: None, function: FunctionServer) -> Function:
    """A detector of cars with two workers."""
    return store_function(function.url)


@pytest.fixture
def matcher(transactional_db: None, function: FunctionServer) -> Function:
    """A ReID function that matches boxes by their top coordinate."""

    def behave(payload: dict[str, Any]) -> Any:
        rows = [box["points"][1] for box in payload["boxes1"]]
        return [
            rows.index(box["points"][1]) if box["points"][1] in rows else -1
            for box in payload["boxes0"]
        ]

    function.behave = behave
    return store_function(function.url, "matcher", kind="reid", labels=[])


def make_images(folder: Path, count: int, size: tuple[int, int] = (64, 48)) -> list[Path]:
    """Write PNG files whose colour encodes their number. Return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(count):
        path = folder / f"{number:05}.png"
        buffer = io.BytesIO()
        Image.new("RGB", size, (number % 256, number // 256, 90)).save(buffer, "PNG")
        path.write_bytes(buffer.getvalue())
        made.append(path)
    return made


@pytest.fixture
def make_task(transactional_db: None, alice: User, tmp_path: Path) -> MakeTask:
    """Return a function that creates a task of alice with a number of numbered frames."""

    def make(count: int, *, labels: Any = CAR, name: str = "street", **options: Any) -> Task:
        files = make_images(tmp_path / "images", count)
        return create_task(alice, name, labels, files, **options)

    return make


@pytest.fixture
def access(transactional_db: None, alice: User) -> StandaloneAccess:
    """The engine's permissions of alice."""
    return StandaloneAccess(alice)


def run(request: Request) -> Request:
    """Run all shards of a request in this process, as a worker would."""
    for shard in request.shards.order_by("index"):
        rq_tasks.run_shard(shard.pk)
    request.refresh_from_db()
    return request


def run_until_lost(
    request: Request, function: FunctionServer, behave: Callable[..., Any], *, invocations: int
) -> None:
    """Run a request whose worker is lost after a number of invocations."""
    cancel = CancelToken()
    last = len(function.payloads) + invocations

    def cut(payload: dict[str, Any]) -> Any:
        if len(function.payloads) > last:
            cancel.cancel()
        return behave(payload)

    function.behave = cut
    lease = claim(request.shards.get().pk)
    assert lease is not None
    loaded = load_run(lease)
    with pytest.raises(BaseException):  # noqa: B017 (whatever ends a lost run)
        rq_tasks.run_frames(loaded, rq_tasks.work_of(loaded), cancel)
    requeue_shard(lease)
    function.behave = behave


def waiting_jobs() -> list[str]:
    """Return the ids of the queued RQ jobs."""
    return list(django_rq.get_queue("annotation").job_ids)


def job_of(shard: Shard) -> Job:
    """Return the RQ job of a shard."""
    return Job.fetch(shard.rq_job_id, connection=django_rq.get_connection("annotation"))


@pytest.fixture
def start(access: StandaloneAccess) -> Callable[..., Request]:
    """Return a function that creates a request of the function "finder" as alice."""

    def create(**options: Any) -> Request:
        return create_request(access, **{"function_id": "finder", **options})

    return create
