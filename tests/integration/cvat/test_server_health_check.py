"""The health check of the compose file's server: its command runs without Docker."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

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
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert is_healthy(services, server.server_port) is healthy
        server.shutdown()


def test_health_check_of_the_server_fails_where_nothing_listens(services: dict[str, Any]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert not is_healthy(services, unused.getsockname()[1])


def is_healthy(services: dict[str, Any], port: int) -> bool:
    """Run the command of the server's health check against a port of this machine."""
    kind, _, option, script = services["cvat_server"]["healthcheck"]["test"]
    assert (kind, "8080" in script) == ("CMD", True)
    command = [sys.executable, option, script.replace("8080", str(port))]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
