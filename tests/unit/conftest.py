"""Unit tests start no process and no server, and use no database."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

FORBIDDEN = {"subprocess.Popen", "os.posix_spawn", "os.fork", "socket.bind"}
_running: list[str] = []  # the id of the running unit test


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if _running and event in FORBIDDEN:
        raise AssertionError(f"{_running[0]} belongs to tests/integration: it causes {event}")


sys.addaudithook(_audit)


@pytest.fixture(autouse=True)
def _no_process_and_no_server(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that starts a process or listens on a socket."""
    _running.append(request.node.nodeid)
    yield
    _running.clear()
