"""An installed wheel has every file of the package, and runs the demo."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from cvat_lambda.runtime.environments.installer import find_uv, install_options, uv_variables
from tests.conftest import REPOSITORY

BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", "NOTICE")
NOT_SHIPPED = ("__pycache__", "*.pyc")
FUNCTION = """\
metadata:
  name: whole-image
  annotations:
    name: Whole image
    type: detector
    spec: '[{"name": "picture", "type": "rectangle"}]'
spec:
  handler: main:handler
  eventTimeout: 30s
"""
HANDLER = """\
import json

def handler(context, event):
    found = [{"label": "picture", "type": "rectangle", "points": [1, 1, 60, 60], "confidence": "1"}]
    return context.Response(
        body=json.dumps(found), headers={}, content_type="application/json", status_code=200
    )
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from a copy, so that the build leaves no files in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in BUILT_FROM:
        shutil.copy(REPOSITORY / name, source / name)
    ignore = shutil.ignore_patterns(*NOT_SHIPPED)
    shutil.copytree(REPOSITORY / "cvat_lambda", source / "cvat_lambda", ignore=ignore)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", str(source)]
    done = subprocess.run(
        [*command, "--wheel-dir", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def wheel_names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as file:
        return set(file.namelist())


def test_every_file_of_the_package_is_in_the_wheel(wheel_names: set[str]) -> None:
    package = REPOSITORY / "cvat_lambda"
    files = {
        path.relative_to(REPOSITORY).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert len(files) > 200
    assert files - wheel_names == set()


def test_the_wheel_has_the_decoders_of_trained_models(wheel_names: set[str]) -> None:
    # cvat_lambda/runtime/templates/common is a link to serverless/common.
    modules = {path.name for path in (REPOSITORY / "serverless" / "common").glob("*.py")}
    assert "yolo.py" in modules
    folder = "cvat_lambda/runtime/templates/common"
    assert {f"{folder}/{name}" for name in modules} - wheel_names == set()


def test_wheel_has_only_files_of_the_package(wheel_names: set[str]) -> None:
    places = {name.partition("/")[0] for name in wheel_names}
    assert {place for place in places if not place.endswith(".dist-info")} == {"cvat_lambda"}


def test_the_demo_runs_from_the_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    function = tmp_path / "functions" / "whole_image"
    function.mkdir(parents=True)
    (function / "function.yaml").write_text(FUNCTION)
    (function / "main.py").write_text(HANDLER)
    environment = tmp_path / "environment"
    python = environment / "bin" / "python"
    uv, options = find_uv(), install_options()
    _run([uv, "venv", "--quiet", "--python", sys.executable, str(environment)])
    wanted = ["--python", str(python), f"{wheel}[standalone]"]
    _run([uv, "pip", "install", "--quiet", *options, *wanted], variables=uv_variables())
    command = [str(python), "-m", "cvat_lambda.server.demo", "--once", "--minimal"]
    command += ["--functions", str(function.parent), "--function", "whole-image"]
    done = _run([*command, "--port", "0", "--platform-port", "0"], cwd=tmp_path)
    assert "4 frames done, 0 failed" in done.stdout
    assert "picture: 4" in done.stdout


def _run(
    command: list[str], cwd: Path | None = None, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command without this test run's settings. Fail with its output."""
    ours = ("CVAT_LAMBDA_", "DJANGO_", "DATABASE_URL", "PYTEST_", "PYTHONPATH", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    env.update(variables or {})
    if cwd is not None:
        env["CVAT_LAMBDA_HOME"] = str(cwd / "home")
    done = subprocess.run(
        command, env=env, cwd=cwd, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done
