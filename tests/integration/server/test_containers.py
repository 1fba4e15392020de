"""The containers of the compose files, started without Docker.

Each runs with its command, its environment and its user, without capabilities, and everything but
its volumes and /tmp is read-only. Needs root.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import requests
import yaml

from cvat_lambda.server.processes import Child, redis_command, wait_for_answer, wait_for_port
from tests.conftest import REPOSITORY
from tests.integration.runtime.harness import write_function
from tests.ports import free_port
from tests.services import postgresql_url
from tests.waiting import wait_for

SERVICES: dict[str, Any] = {
    name: service
    for file in ("docker-compose.yml", "docker-compose.cvat-functions.yml")
    for name, service in yaml.safe_load((REPOSITORY / "docker" / file).read_text())[
        "services"
    ].items()
}
USER = 1000  # of the Dockerfile
HOMES = {"cvat_functions": "/home/functions"}  # of the Dockerfile
HOME = "/home/lambda"  # of the others
HELLO = "def handler(context, event):\n    return ''\n"
SECRET = "a-secret-of-the-test" * 3
# The capability lets the user read the Python of this machine, which may be in root's home folder.
READ = "dac_read_search"
START = f"""
mount --bind "$PLACE" "$PLACE"
mount --bind /tmp /tmp
mount -o remount,bind,ro /
cd "$HOME"
exec setpriv --reuid={USER} --regid={USER} --clear-groups --no-new-privs --pdeathsig=TERM \
  --inh-caps=-all,+{READ} --ambient-caps=-all,+{READ} --bounding-set=-all,+{READ} "$@"
"""


def obstacle() -> str:
    """Return why folders cannot be made read-only for one process, "" if they can."""
    if os.geteuid() != 0:
        return "read-only folders for one process need root"
    command = ["unshare", "--mount", "mount", "-o", "remount,bind,ro", "/"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stderr.strip()


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user can reach, which the folders of pytest are not."""
    with tempfile.TemporaryDirectory(prefix="cvat-lambda-containers-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """Return a text of the compose file with its variables replaced, as Compose does it."""
    return re.sub(
        r"\$\{(\w+)(?::([-?])([^}]*))?\}",
        lambda found: variables.get(found[1]) or (found[3] if found[2] == "-" else ""),
        text,
    )


def start(name: str, root: Path, more: Mapping[str, str], *arguments: str) -> Child:
    """Start a container's command with its environment, of which `more` replaces a part."""
    service, place = SERVICES[name], root / name
    home = place / HOMES.get(name, HOME)[1:]
    home.mkdir(parents=True, exist_ok=True)
    for volume in service["volumes"]:
        folder = place / volume.partition(":")[2][1:]
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, USER, USER)
    variables = {
        "CVAT_LAMBDA_DATABASE_PASSWORD": SECRET,
        "CVAT_LAMBDA_PLATFORM_TOKEN": SECRET,
        "CVAT_LAMBDA_SECRET_KEY": SECRET,
        "CVAT_LAMBDA_FUNCTIONS": "all",
        "CVAT_LAMBDA_WORKERS": "1",
    }
    environment = {
        key: expanded(value, variables)
        for key, value in service["environment"].items()
        if value is not None
    }
    words = [expanded(word, variables) for word in service.get("command") or command_of_image()]
    words = [sys.executable if word == "python" else word for word in words]
    words = [f"{place}/serverless" if word == "/serverless" else word for word in words]
    return Child.start(
        name,
        ["unshare", "--mount", "sh", "-ec", START, "sh", *words, *arguments],
        env={
            **environment,
            **more,
            "HOME": str(home),
            "CVAT_LAMBDA_HOME": str(home / "data"),  # of the Dockerfile
            "PATH": os.environ["PATH"],
            "PLACE": str(place),
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONDONTWRITEBYTECODE": "1",
            # The mirror of packages of this machine.
            **{key: value for key, value in os.environ.items() if key.startswith("PIP_")},
        },
        log=root / f"{name}.log",
        cwd=REPOSITORY,
    )


def command_of_image() -> list[str]:
    """Return the command of the image "functions"."""
    text = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", "")
    stage = text.partition(" AS functions\n")[2].partition("\nFROM ")[0]
    (line,) = (line for line in stage.splitlines() if line.startswith("CMD "))
    words: list[str] = json.loads(line.removeprefix("CMD "))
    return words


def wait_for_function(port: int) -> None:
    """Wait until the runtime at a port says that the function is ready."""
    found = wait_for(
        "the function",
        lambda: requests.get(
            f"http://127.0.0.1:{port}/api/functions/hello",
            headers={"Authorization": f"Bearer {SECRET}"},
            timeout=30,
        ).json(),
        lambda found: found["status"]["state"] in ("ready", "error"),
        timeout_s=600,
        pause_s=0.5,
    )
    assert found["status"]["state"] == "ready", found


def test_functions_container_of_cvat_runs_without_root_on_read_only_folders(place: Path) -> None:
    if reason := obstacle():
        pytest.skip(reason)
    write_function(place / "cvat_functions" / "serverless", "hello", HELLO)
    port = free_port()
    child = start("cvat_functions", place, {}, f"--port={port}")
    try:
        wait_for_port(port, child=child)
        wait_for_function(port)
        assert psutil.Process(child.process.pid).uids().effective == USER
    finally:
        child.stop()
    log = (place / "cvat_functions.log").read_text()
    assert not re.search("Read-only file system|Permission denied", log), log


def test_containers_run_without_root_and_write_into_their_volumes_only(place: Path) -> None:
    if reason := obstacle():
        pytest.skip(reason)
    database = f"containers_{os.getpid()}"
    in_database(f"CREATE DATABASE {database}")
    write_function(
        place / "functions" / "serverless", "hello", "def handler(context, event):\n    return ''\n"
    )
    queue, platform, web, workers = (free_port() for _ in range(4))
    addresses = {
        "DATABASE_URL": re.sub(r"/postgres(\?|$)", rf"/{database}\1", postgresql_url()),
        "CVAT_LAMBDA_REDIS_URL": f"redis://127.0.0.1:{queue}/0",
        "CVAT_LAMBDA_PLATFORM_URL": f"http://127.0.0.1:{platform}",
    }
    with ExitStack() as stack:
        stack.callback(in_database, f"DROP DATABASE {database} WITH (FORCE)")
        redis = Child.start("redis", redis_command(place / "redis", queue, persist=False))
        stack.callback(redis.stop)
        wait_for_port(queue, child=redis)
        ports = (f"--port={free_port()}", f"--platform-port={platform}")
        functions = start("functions", place, {}, *ports)
        stack.callback(functions.stop)
        for name, port in (("web", web), ("workers", workers)):
            child = start(name, place, addresses, f"--port={port}")
            stack.callback(child.stop)
            wait_for_answer(f"http://127.0.0.1:{port}/health", child=child)
        wait_for_function(platform)
        for port in (web, workers):
            wait_for(
                "all components",
                partial(components, port),
                lambda found: all(item["ok"] for item in found.values()),
                timeout_s=180,
                pause_s=0.5,
            )
        assert psutil.Process(functions.process.pid).uids().effective == USER
    for log in place.glob("*.log"):
        assert not re.search("Read-only file system|Permission denied", log.read_text()), log


def in_database(statement: str) -> None:
    """Run a statement on the server of the tests."""
    with psycopg.connect(postgresql_url(), autocommit=True) as admin:
        admin.execute(statement.encode())


def components(port: int) -> dict[str, Any]:
    """Return the components that a host reports."""
    answer = requests.get(f"http://127.0.0.1:{port}/health/ready", timeout=30)
    found: dict[str, Any] = answer.json()["components"]
    return found
