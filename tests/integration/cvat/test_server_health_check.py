"""The health check of the compose file's server: its command runs without Docker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.http_server import Reply, http_server
from tests.ports import closed_port

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "docker" / "docker-compose.cvat-lambda.yml"


@pytest.fixture
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
    return found


@pytest.mark.parametrize(
    ("status", "healthy"), [(200, True), (404, True), (500, False), (502, False)]
)
def test_health_check_of_the_server_fails_on_errors_of_the_server(
    services: dict[str, Any], status: int, healthy: bool
) -> None:
    with http_server(lambda _: Reply(status)) as server:
        assert is_healthy(services, server.port) is healthy


def test_health_check_of_the_server_fails_where_nothing_listens(services: dict[str, Any]) -> None:
    assert not is_healthy(services, closed_port())


def is_healthy(services: dict[str, Any], port: int) -> bool:
    """Run the command of the server's health check against a port of this machine."""
    kind, _, option, script = services["cvat_server"]["healthcheck"]["test"]
    assert (kind, "8080" in script) == ("CMD", True)
    command = [sys.executable, option, script.replace("8080", str(port))]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
