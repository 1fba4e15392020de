"""The gateway with the embedded runtime in real processes, which follows Nuclio's contract."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from cvat_lambda.errors import (
    FunctionBusy,
    FunctionCrashed,
    FunctionFailed,
    FunctionRejected,
    FunctionTimeout,
    LambdaError,
    PayloadTooLarge,
)
from cvat_lambda.functions import registry
from cvat_lambda.functions.health import RevisionChanged
from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.gateway import nuclio
from cvat_lambda.gateway.gateway import get_gateway
from cvat_lambda.gateway.invoke import invoke, invoke_once
from tests.bench.load import WORKERS, Clients, run_load
from tests.integration.runtime.harness import Runtime, calls_begun, running, write_function
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db

CODE = """
import json, os, time

def respond(context, value, status=200):
    return context.Response(body=json.dumps(value), content_type="application/json",
                            status_code=status)

def handler(context, event):
    what = event.body.get("do")
    if what == "raise":
        raise ValueError("no box at http://10.0.0.1:80/x")
    if what == "refuse":
        return context.Response(body="a box is needed", content_type="text/plain", status_code=422)
    if what == "exit":
        os._exit(3)
    if what == "sleep":
        time.sleep(30)
    if what == "nan":
        return context.Response(body="[NaN]", content_type="application/json", status_code=200)
    context.logger.info("request " + event.headers.get("X-Request-Id", "-"))
    return respond(context, {"target": event.headers.get("X-Nuclio-Target"), "do": what})
"""


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    root = tmp_path_factory.mktemp("gateway-runtime")
    # Calls wait until a worker that has ended is replaced, also on a busy machine.
    patient = {"workerAvailabilityTimeoutMilliseconds": 120_000}
    write_function(root / "functions", "fn", CODE, trigger=patient)
    write_function(root / "functions", "hasty", CODE, trigger=patient, eventTimeout="1s")
    write_function(
        root / "functions",
        "narrow",
        CODE,
        trigger={
            "workerAvailabilityTimeoutMilliseconds": 0,
            "attributes": {"maxRequestBodySize": 50_000},
        },
    )
    with running([root / "functions"], root / "state", "--token", "secret") as served:
        for name in ("fn", "hasty", "narrow"):
            served.wait_for_state(name, "ready")
        yield served


@pytest.fixture(autouse=True)
def _platform(runtime: Runtime, settings: Settings) -> Iterator[None]:
    settings.CVAT_LAMBDA_PLATFORM_URL = runtime.url
    settings.CVAT_LAMBDA_PLATFORM_TOKEN = "secret"
    settings.CVAT_LAMBDA_PLATFORM_PROJECT = ""
    settings.CVAT_LAMBDA_FUNCTIONS_REFRESH_S = 0
    registry.refresh(force=True)
    yield
    get_gateway().reset()


def do(spec: FunctionSpec, what: str, *, request_id: str = "r1", **options: Any) -> Any:
    return invoke(spec, json.dumps({"do": what}).encode(), request_id=request_id, **options)


def test_removal_waits_for_the_calls_in_flight(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = (
        "import time\n"
        "def handler(context, event):\n"
        "    print('begun', flush=True)\n"
        "    time.sleep(2)\n"
    )
    folder = write_function(tmp_path, "slow", slow)
    spec = {"build": {"path": str(folder)}}
    nuclio.platform().deploy({"metadata": {"name": "slow"}, "spec": spec})
    runtime.wait_for_state("slow")
    headers = {"Authorization": "Bearer secret"}
    with ThreadPoolExecutor(1) as pool_of_one:
        call = pool_of_one.submit(runtime.call, "slow", data=b"", headers=headers)
        wait_for("the line in the log", lambda: runtime.log("slow"), lambda log: "begun" in log)
        monkeypatch.setattr(nuclio, "READ_TIMEOUT_S", 0.5)
        nuclio.platform().remove("slow")
        assert call.result().status_code == 200


@pytest.mark.parametrize("method", ["direct", "dashboard"])
def test_redeployed_function_answers_with_its_new_revision_and_the_registry_follows(
    runtime: Runtime, tmp_path: Path, settings: Settings, method: str
) -> None:
    settings.CVAT_LAMBDA_INVOKE_METHOD = method
    code = (
        "def handler(context, event):\n    return context.Response(body='[{}]', status_code=200)\n"
    )
    revisions = []
    try:
        for number in (1, 2):
            folder = write_function(tmp_path / str(number), "changing", code.format(number))
            spec = {"build": {"path": str(folder)}}
            nuclio.platform().deploy({"metadata": {"name": "changing"}, "spec": spec})
            runtime.wait_for_state("changing", "ready")
            if number == 1:
                registry.refresh(force=True)
            known = registry.get("changing")
            wait_for("an answer of the new revision", partial(do, known, "echo"), [number].__eq__)
            answered = invoke_once(known, b"{}", request_id="r2")
            assert answered.answer == [number]
            assert len(answered.revision) == 32
            revisions.append(answered.revision)
            if answered.revision != known.revision:
                registry.note_failure("changing", RevisionChanged())
            assert registry.get("changing").revision == answered.revision
    finally:
        nuclio.platform().remove("changing")
        registry.refresh(force=True)
    assert revisions[0] != revisions[1]


def test_functions_of_the_runtime_are_listed() -> None:
    listed = {spec.id: spec for spec in registry.listed()}
    assert set(listed) >= {"fn", "hasty", "narrow"}
    assert (listed["fn"].timeout_s, listed["hasty"].timeout_s) == (None, 1.0)
    assert listed["narrow"].max_body_bytes == 50_000
    assert listed["narrow"].availability_timeout_s == 0.0


@pytest.mark.parametrize("method", ["direct", "dashboard"])
def test_function_is_invoked_directly_and_through_the_dashboard(
    settings: Settings, method: str
) -> None:
    settings.CVAT_LAMBDA_INVOKE_METHOD = method
    spec = registry.get("fn")
    assert get_gateway().routes.find(spec).through_dashboard is (method == "dashboard")
    assert do(spec, "echo") == {"target": "fn", "do": "echo"}


def test_auto_invokes_the_function_at_its_port() -> None:
    assert not get_gateway().routes.find(registry.get("fn")).through_dashboard


def test_request_id_is_in_the_functions_log(runtime: Runtime) -> None:
    do(registry.get("fn"), "echo", request_id="call-4711")
    assert "request call-4711" in runtime.log("fn")


@pytest.mark.parametrize("method", ["direct", "dashboard"])
@pytest.mark.parametrize(
    ("name", "what", "error", "sentence"),
    [
        ("fn", "raise", FunctionFailed, "failed: no box at …"),
        ("fn", "refuse", FunctionRejected, "refused the input: a box is needed"),
        ("fn", "exit", FunctionCrashed, "ended while it worked on this input"),
        ("hasty", "sleep", FunctionTimeout, "took longer than its own time limit"),
        ("fn", "nan", LambdaError, "the answer is not valid JSON: it holds NaN"),
    ],
)
def test_failures_have_the_same_type_on_every_route(
    settings: Settings, method: str, name: str, what: str, error: type[LambdaError], sentence: str
) -> None:
    settings.CVAT_LAMBDA_INVOKE_METHOD = method
    with pytest.raises(error) as caught:
        do(registry.get(name), what)
    assert caught.value.message.replace("':", "'") == f"function '{name}' {sentence}"


@pytest.mark.parametrize("method", ["direct", "dashboard"])
def test_function_without_a_free_worker_is_busy(
    runtime: Runtime, settings: Settings, method: str
) -> None:
    settings.CVAT_LAMBDA_INVOKE_METHOD = method
    spec = registry.get("narrow")
    begun = calls_begun(runtime, "narrow")
    with ThreadPoolExecutor(1) as pool_of_one:
        first = pool_of_one.submit(do, spec, "sleep", deadline_s=5)
        wait_for("its begin", partial(calls_begun, runtime, "narrow"), lambda now: now > begun)
        with pytest.raises(FunctionBusy):
            do(spec, "sleep", deadline_s=120)
        assert isinstance(first.exception(), LambdaError)


def test_body_above_the_limit_is_refused_by_gateway_and_runtime(runtime: Runtime) -> None:
    from dataclasses import replace

    spec = registry.get("narrow")
    body = b'{"image": "' + b"x" * 200_000 + b'"}'
    with pytest.raises(PayloadTooLarge, match=r"at most 0\.1 MB .* has 0\.2 MB"):
        invoke(spec, body, request_id="r1")
    with pytest.raises(PayloadTooLarge):  # the runtime refuses it if the gateway has an old limit
        invoke(replace(spec, max_body_bytes=10**9), body, request_id="r1")


def test_calls_end_and_no_process_is_left_when_workers_are_killed(
    tmp_path: Path,
) -> None:
    load = run_load(tmp_path, calls=500, clients=32, kill_every_s=0.1)
    assert load.wrong == []
    assert load.hanging == 0
    assert load.ended == 500
    assert max(load.durations_s) < load.longest_s
    assert set(load.errors) <= {
        "function_crashed",
        "function_unavailable",
        "function_busy",
        "platform_unreachable",
        "function_timeout",
    }
    assert load.kills > 0
    assert load.answered > 120
    # the runtime, the processor, its first workers, and those that replaced the killed ones
    assert load.processes > 2 + WORKERS
    assert load.left == []


def test_load_test_detects_an_orphan() -> None:
    script = ["sh", "-c", "sleep 60 >/dev/null & echo $!; read line"]
    with subprocess.Popen(
        script, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as runtime:
        assert runtime.stdin is not None
        assert runtime.stdout is not None
        orphan = int(runtime.stdout.readline())
        clients = Clients(runtime.pid, "load", calls=0, clients=0, kill_every_s=1)
        clients.note_processes()
    try:
        clients.look_for_processes(wait_s=0.2)
        assert clients.load.processes == 2
        assert len(clients.load.left) == 1
        assert f"pid={orphan}," in clients.load.left[0]
    finally:
        os.kill(orphan, signal.SIGKILL)
