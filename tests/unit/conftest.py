"""Tests here start no process and no server, and use no database: so they run in seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

FORBIDDEN = {"subprocess.Popen", "os.posix_spawn", "os.fork", "socket.bind"}
_running: list[str] = []  # the test that runs, if it is one of tests/unit


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if _running and event in FORBIDDEN:
        raise AssertionError(f"{_running[0]} belongs to tests/integration: it causes {event}")


sys.addaudithook(_audit)


@pytest.fixture(autouse=True)
def _no_process_and_no_server(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let a test fail that starts a process or listens at a socket."""
    _running.append(request.node.nodeid)
    yield
    _running.clear()
