"""The platform of black-box tests: the embedded runtime, or a live Nuclio (``NUCLIO_URL``)."""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.runtime.harness import Runtime, running

NUCLIO_URL = os.environ.get("NUCLIO_URL", "")
embedded_only = pytest.mark.skipif(bool(NUCLIO_URL), reason="deliberately unlike Nuclio")

Deploy = Callable[..., str]


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """The platform of the black-box tests. They deploy functions over REST."""
    if NUCLIO_URL:
        yield Runtime(NUCLIO_URL.rstrip("/"), None)
        return
    with running([], tmp_path_factory.mktemp("platform")) as runtime:
        yield runtime


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
        platform.wait_for(name, "ready")
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
