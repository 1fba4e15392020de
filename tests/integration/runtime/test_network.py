"""Functions without a network."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.integration.runtime.conftest import Serve, Write
from tests.integration.runtime.harness import Runtime

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
    runtime: Runtime, serve: Serve, network: str, found: str
) -> None:
    if network == "none" and not allows_namespaces():
        name = serve(CODE, state="error", extras={"network": network}).name
        assert "network: none" in runtime.function(name)["status"]["message"]
        return
    name = serve(CODE, extras={"network": network}).name
    port = int(runtime.url.rpartition(":")[2])
    assert runtime.call(name, {"port": port}).json() == found


def test_unknown_network_is_an_error_of_the_function(runtime: Runtime, write: Write) -> None:
    folder = write(CODE, extras={"network": "some"})
    document = {"metadata": {"name": folder.name}, "spec": {"build": {"path": str(folder)}}}
    answer = runtime.request("POST", "/api/functions", json=document)
    message = answer.json()["error"]
    assert "x-cvat-lambda.network must be none or host, not 'some'" in message
