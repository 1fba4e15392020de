"""Unit tests start no process and no server, and use no database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.audit_hooks import add_hook

FORBIDDEN = {"subprocess.Popen", "os.posix_spawn", "os.fork", "socket.bind", "sqlite3.connect"}
_running: list[str] = []  # the id of the running unit test


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if _running and event in FORBIDDEN:
        raise AssertionError(f"{_running[0]} belongs to tests/integration: it causes {event}")


add_hook(_audit)


@pytest.fixture(autouse=True)
def _no_process_server_or_database(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that starts a process, listens on a socket or opens a database."""
    _running.append(request.node.nodeid)
    yield
    _running.clear()
