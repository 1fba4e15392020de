"""The memory limit of a container. A folder with the kernel's files stands in for the cgroup."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cvat_lambda.runtime.processes.memory_limit import CGROUP_VARIABLE, find_memory_limit
from tests.integration.runtime.harness import REPOSITORY, Runtime, running, write_function

MIB = 2**20
LIMIT = 1024 * MIB
CODE = """
import os

def init_context(context):
    context.user_data.model = bytearray(os.urandom(1)) * (120 * 2**20)

def handler(context, event):
    return context.Response(body="[]", content_type="application/json")
"""
# Notes when it begins and ends to load.
SLOW = """
import time

def init_context(context):
    with open({path!r}, "a", buffering=1) as file:
        file.write("begin\\n")
        time.sleep(0.3)
        file.write("end\\n")

def handler(context, event):
    return context.Response(body="[]", content_type="application/json")
"""


class Cgroup:
    """The files of a cgroup of version 1 or 2 with a limit of 1 GiB."""

    def __init__(self, folder: Path, version: int) -> None:
        self.folder = folder
        self._version = version
        folder.mkdir()
        (folder / ("memory.max" if version == 2 else "memory.limit_in_bytes")).write_text(
            f"{LIMIT}\n"
        )
        self.leave(LIMIT)

    def leave(self, available: int) -> None:
        """Let so many bytes be available; another 100 MiB are cached files."""
        cached = 100 * MIB
        usage = "memory.current" if self._version == 2 else "memory.usage_in_bytes"
        (self.folder / usage).write_text(f"{LIMIT - available + cached}\n")
        facts = f"anon 5\ninactive_file {cached // 4}\nactive_file {cached - cached // 4}\n"
        if self._version == 1:  # the cgroups below have most of it
            facts = f"inactive_file 9\ntotal_inactive_file {cached}\ntotal_active_file 0\n"
        (self.folder / "memory.stat").write_text(facts)

    @property
    def environment(self) -> dict[str, str]:
        return {CGROUP_VARIABLE: str(self.folder)}


@pytest.fixture(params=[1, 2])
def cgroup(request: pytest.FixtureRequest, tmp_path: Path) -> Cgroup:
    return Cgroup(tmp_path / "cgroup", request.param)


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    folder = tmp_path / "functions"
    folder.mkdir()
    return folder


def workers_of(function: dict[str, Any]) -> tuple[int, int]:
    """Return the two numbers of workers that clients read."""
    trigger = function["spec"]["triggers"]["http"]
    return trigger["numWorkers"], trigger["maxWorkers"]


def test_only_the_workers_that_fit_into_the_memory_limit_start(
    functions: Path, tmp_path: Path, cgroup: Cgroup
) -> None:
    cgroup.leave(150 * MIB)
    write_function(functions, "one", CODE, trigger={"numWorkers": 3, "maxWorkers": 3})
    with running([functions], tmp_path / "state", env=cgroup.environment) as runtime:
        found = runtime.wait_for_state("one", "ready")
        assert workers_of(found) == (1, 1)
        assert "1 of 3 workers: another one needs" in found["status"]["message"]
        assert "of the memory limit of 1.0 GiB" in runtime.log("one")
        assert runtime.call("one", {}).status_code == 200
        # After scaling to zero and back, with more memory, all workers start.
        cgroup.leave(LIMIT)
        scale(runtime, "scaledToZero")
        scale(runtime, "ready")
        assert workers_of(runtime.function("one")) == (3, 3)


def scale(runtime: Runtime, wish: str) -> None:
    """Scale the function to zero or back, as Nuclio's autoscaler does."""
    assert runtime.request("PATCH", "/api/functions/one", json={"desiredState": wish}).ok
    runtime.wait_for_state("one", wish)


def test_all_workers_start_if_they_fit_into_the_memory_limit(
    functions: Path, tmp_path: Path, cgroup: Cgroup
) -> None:
    write_function(functions, "one", CODE, trigger={"numWorkers": 2, "maxWorkers": 2})
    with running([functions], tmp_path / "state", env=cgroup.environment) as runtime:
        found = runtime.wait_for_state("one", "ready")
        assert workers_of(found) == (2, 2)
        assert "message" not in found["status"]
        assert "memory limit of this container or service: 1.0 GiB" in "".join(runtime.output)


def test_function_without_memory_is_in_error_and_starts_when_memory_is_free(
    functions: Path, tmp_path: Path, cgroup: Cgroup
) -> None:
    cgroup.leave(10 * MIB)
    write_function(functions, "one", CODE)
    with running([functions], tmp_path / "state", env=cgroup.environment) as runtime:
        message = runtime.wait_for_state("one", "error")["status"]["message"]
        assert "10.0 MiB are left of the memory limit of 1.0 GiB" in message
        cgroup.leave(LIMIT)
        runtime.wait_for_state("one", "ready")


def test_models_are_loaded_one_after_the_other_where_memory_is_limited(
    functions: Path, tmp_path: Path
) -> None:
    cgroup = Cgroup(tmp_path / "cgroup", 2)
    notes = tmp_path / "notes"
    for name in ("one", "two"):
        write_function(functions, name, SLOW.format(path=str(notes)), trigger={"numWorkers": 2})
    with running([functions], tmp_path / "state", env=cgroup.environment) as runtime:
        for name in ("one", "two"):
            runtime.wait_for_state(name, "ready")
    assert notes.read_text().split() == ["begin", "end"] * 4


def test_cgroup_without_a_limit_limits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CGROUP_VARIABLE, str(tmp_path))
    assert find_memory_limit() is None
    (tmp_path / "memory.max").write_text("max\n")
    assert find_memory_limit() is None
    (tmp_path / "memory.max").unlink()
    (tmp_path / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert find_memory_limit() is None


@pytest.mark.parametrize("source", ["option", "variable"])
def test_idle_timeout_of_the_runtime_stops_functions_whose_file_has_none(
    functions: Path, tmp_path: Path, source: str
) -> None:
    write_function(functions, "one", CODE)
    write_function(functions, "two", CODE, extras={"idle_timeout": "1h"})
    options = ["--idle-timeout", "500ms"] if source == "option" else []
    env = {"CVAT_LAMBDA_RUNTIME_IDLE_TIMEOUT": "500ms"} if source == "variable" else {}
    with running([functions], tmp_path / "state", *options, env=env) as runtime:
        runtime.wait_for_state("one", "scaledToZero")
        runtime.wait_for_state("two", "ready")
        assert runtime.call("one", {}).status_code == 200


@pytest.mark.parametrize("text", ["soon", "0s", "-5m"])
def test_wrong_idle_timeout_is_a_wrong_argument(functions: Path, text: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cvat_lambda.runtime", "serve", functions, f"--idle-timeout={text}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "--idle-timeout" in done.stderr
