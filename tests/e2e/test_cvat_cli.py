"""The real cvat-cli, as a process, against a live server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from PIL import Image

from cvat_lambda.engine.standalone.models import AccessToken, LabeledShape, Task
from tests.e2e.conftest import Server

Cli = Callable[..., str]

FUNCTION = """
import cvat_sdk.auto_annotation as cvataa

spec = cvataa.DetectionFunctionSpec(labels=[cvataa.label_spec("car", 0)])

def detect(context, image):
    return [cvataa.rectangle(0, [1, 1, image.width - 1, image.height - 1])]
"""


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        Image.new("RGB", (32, 24), (80 * number, 0, 0)).save(path)
    return paths


@pytest.fixture
def cli(transactional_db: None, server: Server, alice: User, tmp_path: Path) -> Cli:
    """Return a function that runs cvat-cli as alice and returns what it printed."""
    _, token = AccessToken.create(alice, name="cli")
    host, _, port = server.url.rpartition(":")
    home = tmp_path / "home"
    home.mkdir()

    def run(*arguments: str, password: bool = False) -> str:
        login = ["--auth", "alice:alice-secret"] if password else []
        environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
        if not password:
            environment["CVAT_ACCESS_TOKEN"] = token
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "cvat-cli"),
                *("--server-host", host, "--server-port", port),
                *login,
                *arguments,
            ],
            capture_output=True,
            text=True,
            timeout=300,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("password", [False, True], ids=["token", "password"])
def test_cvat_cli_creates_lists_and_deletes_a_task(
    cli: Cli, pictures: list[Path], tmp_path: Path, password: bool
) -> None:
    labels = json.dumps([{"name": "car", "attributes": []}])
    files = [str(path) for path in pictures]
    printed = cli(
        *("task", "create", "from the shell", "--labels", labels),
        *("--completion_verification_period", "1", "local", *files),
        password=password,
    )
    task_id = printed.split()[-1]
    assert Task.objects.get(pk=task_id).data.size == 3
    assert task_id in cli("task", "ls", password=password).split()

    out = tmp_path / "frames"
    cli(
        *("task", "frames", "--outdir", str(out), "--quality", "original", task_id, "0", "2"),
        password=password,
    )
    contents = sorted(path.read_bytes() for path in out.iterdir())
    assert contents == sorted([pictures[0].read_bytes(), pictures[2].read_bytes()])

    function = tmp_path / "finder.py"
    function.write_text(FUNCTION)
    cli("task", "auto-annotate", task_id, "--function-file", str(function), password=password)
    shapes = LabeledShape.objects.filter(task_id=task_id).order_by("frame")
    assert [(shape.frame, shape.points) for shape in shapes] == [
        (frame, (1, 1, 31, 23)) for frame in range(3)
    ]

    cli("task", "delete", task_id, password=password)
    assert not Task.objects.exists()
