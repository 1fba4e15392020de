"""The platform of black-box tests: the embedded runtime, or a live Nuclio (``NUCLIO_URL``)."""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.integration.runtime.harness import Runtime, running, write_function

NUCLIO_URL = os.environ.get("NUCLIO_URL", "")
embedded_only = pytest.mark.skipif(bool(NUCLIO_URL), reason="deliberately unlike Nuclio")

Deploy = Callable[..., str]


class Write(Protocol):
    """Writes a function folder with a name of its own, which is the function's name."""

    def __call__(self, code: str, **spec: Any) -> Path: ...


class Serve(Protocol):
    """Writes a function folder, deploys it, waits for a state and returns the folder."""

    def __call__(self, code: str, *, state: str = "ready", **spec: Any) -> Path: ...


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """The embedded runtime that all tests of this process share.

    A test that stops, kills or configures a runtime starts one of its own with `running`.
    """
    with running([], tmp_path_factory.mktemp("runtime")) as runtime:
        yield runtime


@pytest.fixture(scope="session")
def platform(request: pytest.FixtureRequest) -> Runtime:
    """The platform of the black-box tests: a live Nuclio, or the shared runtime."""
    if NUCLIO_URL:
        return Runtime(NUCLIO_URL.rstrip("/"), None)
    shared: Runtime = request.getfixturevalue("runtime")
    return shared


@pytest.fixture
def write(runtime: Runtime, tmp_path: Path) -> Iterator[Write]:
    """Return a function that writes folders, whose functions are removed after the test."""
    names: list[str] = []

    def write_folder(code: str, **spec: Any) -> Path:
        names.append(f"test-{uuid.uuid4().hex[:10]}")
        return write_function(tmp_path / "functions", names[-1], code, **spec)

    yield write_folder
    for name in names:
        runtime.remove(name)


@pytest.fixture
def serve(runtime: Runtime, write: Write) -> Serve:
    """Return a function that serves code with the shared runtime until the test ends."""

    def serve_code(code: str, *, state: str = "ready", **spec: Any) -> Path:
        folder = write(code, **spec)
        runtime.deploy(folder)
        status = runtime.wait_for_state(folder.name, state, "error")["status"]
        assert status["state"] == state, status
        return folder

    return serve_code


@pytest.fixture(scope="module")
def deploy(platform: Runtime) -> Iterator[Deploy]:
    """Return a function that deploys code, waits until it is ready, and returns its name."""
    names: list[str] = []

    def deploy_code(code: str, *, trigger: dict[str, Any] | None = None, **spec: Any) -> str:
        name = f"test-{uuid.uuid4().hex[:10]}"
        names.append(name)
        answer = platform.request(
            "POST", "/api/functions", json=document(name, code, trigger, spec)
        )
        assert (answer.status_code, answer.content) == (202, b"")
        platform.wait_for_state(name, "ready")
        return name

    yield deploy_code
    for name in names:
        body = {"metadata": {"name": name, "namespace": "nuclio"}}
        assert platform.request("DELETE", "/api/functions", json=body).status_code == 204


def document(
    name: str, code: str, trigger: dict[str, Any] | None = None, spec: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the body of a request that deploys a function."""
    return {
        "metadata": {"name": name, "namespace": "nuclio"},
        "spec": {
            "description": "for tests",
            "runtime": "python:3.11",
            "handler": "main:handler",
            "build": {"functionSourceCode": base64.b64encode(code.encode()).decode()},
            "triggers": {"http": {"kind": "http", "numWorkers": 1, **(trigger or {})}},
            **(spec or {}),
        },
    }
