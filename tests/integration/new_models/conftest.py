"""Folders that ``new`` writes for trained models, served by the runtime and used by the app."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cvat_lambda.runtime.cli import main
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


def picture(width: int, height: int, brightness: int = 255) -> str:
    """Return an image of one grey level in base64."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (brightness,) * 3).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
