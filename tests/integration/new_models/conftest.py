"""Folders that ``new`` writes for trained models, served by the runtime and used by the app."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from PIL import Image
from pytest_django import Settings

from cvat_lambda.engine import get_engine
from cvat_lambda.engine.standalone.access import StandaloneAccess
from cvat_lambda.engine.standalone.tasks import create_task
from cvat_lambda.functions import registry
from cvat_lambda.gateway.gateway import get_gateway
from cvat_lambda.requests.control.create import create_request
from cvat_lambda.runtime.cli import main
from tests.integration.requests.conftest import run
from tests.integration.runtime.harness import REPOSITORY, Runtime, running

ONNX = ("onnx==1.23.2", "numpy==2.4.6")
MakeGraphs = Callable[[Sequence[dict[str, Any]]], None]


def run_with(packages: Sequence[str], *arguments: str) -> str:
    """Run Python in an environment of its own with some packages; return its output."""
    named = [word for package in packages for word in ("--with", package)]
    command = [sys.executable, "-m", "uv", "run", "--quiet", "--no-project", *named]
    done = subprocess.run(
        [*command, "--python", "3.11", "python", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def make_graphs(tmp_path_factory: pytest.TempPathFactory) -> MakeGraphs:
    """Return a function that writes the ONNX files of `make_graphs.py`."""
    folder = tmp_path_factory.mktemp("graphs")
    script = Path(__file__).with_name("make_graphs.py")

    def make(descriptions: Sequence[dict[str, Any]]) -> None:
        (folder / "graphs.json").write_text(json.dumps(descriptions))
        run_with(ONNX, str(script), str(folder / "graphs.json"))

    return make


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """A runtime to which the tests deploy."""
    with running([], tmp_path_factory.mktemp("served")) as runtime:
        yield runtime


def run_cli(*words: object) -> None:
    """Run ``python -m cvat_lambda.runtime`` with arguments; it must succeed."""
    assert main([str(word) for word in words]) == 0


@contextmanager
def app_of(runtime: Runtime, settings: Settings) -> Iterator[None]:
    """Let the app call the functions of a runtime while the block runs."""
    settings.CVAT_LAMBDA_PLATFORM_URL = runtime.url
    settings.CVAT_LAMBDA_FUNCTIONS_REFRESH_S = 0
    registry.refresh(force=True)
    try:
        yield
    finally:
        get_gateway().reset()


def found_by_request(
    user: User, function: str, labels: Sequence[str], images: Sequence[Path], **options: Any
) -> list[tuple[int, float, list[float]]]:
    """Run a request over a new task; return frame, score and points of the shapes, sorted."""
    wanted = [{"name": name, "type": "rectangle"} for name in labels]
    task = create_task(user, function, wanted, images)
    access = StandaloneAccess(user)
    request = run(create_request(access, function_id=function, task_id=task.pk, **options))
    assert (request.status, request.error_message) == ("finished", "")
    shapes = get_engine().annotations(task.pk).shapes
    return sorted((one.frame, one.score, [round(x, 1) for x in one.points]) for one in shapes)


def picture(width: int, height: int, brightness: int = 255) -> str:
    """Return an image of one grey level in base64."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (brightness,) * 3).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
