"""Functions without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.runtime.harness import running, write_function

# It tries to connect to the dashboard, which listens on loopback.
CODE = """
import json, socket
def handler(context, event):
    try:
        socket.create_connection(("127.0.0.1", event.body["port"]), timeout=5).close()
        found = "connected"
    except OSError as error:
        found = type(error).__name__
    return context.Response(body=json.dumps(found), content_type="application/json")
"""


def allows_namespaces() -> bool:
    """Whether this user may make a network namespace; a child process tries."""
    flags = 0x40000000 | (0 if os.getuid() == 0 else 0x10000000)
    code = f"import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare({flags}) != 0)"
    return subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("network", "found"), [("none", "OSError"), ("host", "connected")])
def test_function_reaches_only_the_network_that_its_file_gives_it(
    tmp_path: Path, network: str, found: str
) -> None:
    functions = tmp_path / "functions"
    write_function(functions, "one", CODE, extras={"network": network})
    with running([functions], tmp_path / "state") as runtime:
        if network == "none" and not allows_namespaces():
            assert "network: none" in runtime.wait_for("one", "error")["status"]["message"]
            return
        runtime.wait_for("one")
        port = int(runtime.url.rpartition(":")[2])
        assert runtime.call("one", {"port": port}).json() == found


def test_unknown_network_is_an_error_of_the_function(tmp_path: Path) -> None:
    functions = tmp_path / "functions"
    write_function(functions, "one", CODE, extras={"network": "some"})
    with running([functions], tmp_path / "state") as runtime:
        message = runtime.wait_for("one", "error")["status"]["message"]
    assert "x-cvat-lambda.network must be none or host, not 'some'" in message
