"""Functions for their tests, served by the embedded runtime, each in its own environment.

A test module in this folder names its functions in a constant ``FUNCTIONS``. One runtime per
session serves the functions of all collected modules, so a run of one module starts its functions
only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.runtime.harness import REPOSITORY, Runtime, running

SERVERLESS = REPOSITORY / "serverless"
CALL_TIMEOUT_S = 120.0  # long, because a busy machine is slow
ENDS = ("ready", "error", "unhealthy")  # final states


@dataclass(frozen=True)
class ServedFunction:
    """A served function."""

    name: str
    runtime: Runtime

    def invoke(self, payload: object) -> tuple[int, Any]:
        """Call the function with JSON; return the status and the JSON of the answer."""
        answer = self.runtime.call(self.name, payload, timeout=CALL_TIMEOUT_S)
        return answer.status_code, answer.json()

    @property
    def labels(self) -> list[dict[str, Any]]:
        """Return the labels that function.yaml lists."""
        annotations = self.runtime.function(self.name)["metadata"]["annotations"]
        labels: list[dict[str, Any]] = json.loads(annotations["spec"])
        return labels


def folder_of(name: str) -> Path:
    """Return the folder of a function by its id."""
    for path in SERVERLESS.glob("*/*/*/function.yaml"):
        if yaml.safe_load(path.read_text())["metadata"]["name"] == name:
            return path.parent
    raise LookupError(f"no function.yaml below serverless/ is named {name!r}")


@pytest.fixture(scope="session")
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runtime]:
    """Serve the functions that this session's test modules name."""
    here = Path(__file__).parent
    modules = {
        item.module
        for item in request.session.items
        if isinstance(item, pytest.Function) and here in item.path.parents
    }
    names = {name for module in modules for name in getattr(module, "FUNCTIONS", ())}
    folders = [folder_of(name) for name in sorted(names)]
    with running(folders, tmp_path_factory.mktemp("functions")) as runtime:
        yield runtime


@pytest.fixture(scope="session")
def function(served: Runtime) -> Callable[[str], ServedFunction]:
    """Return a function that waits until a function is ready and returns it by its id."""

    def ready(name: str) -> ServedFunction:
        status = served.wait_for_state(name, *ENDS)["status"]
        assert status["state"] == "ready", status.get("message")
        return ServedFunction(name=name, runtime=served)

    return ready
