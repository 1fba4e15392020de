"""Environments of functions that a test writes, in the cache of the runtime."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

from cvat_lambda.runtime.environments.build import EnvironmentBuilder
from cvat_lambda.runtime.paths import cache_folder
from tests.integration.runtime.harness import REPOSITORY

# The requirements of the functions that ``new`` writes for trained models.
TEMPLATES = REPOSITORY / "cvat_lambda" / "runtime" / "templates" / "model" / "requirements"
SHIM = REPOSITORY / "tests" / "functions" / "catalogue" / "makers" / "torchvision_ops.py"
PYTHON = "3.11"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """An environment, and what its functions need beside it."""

    interpreter: Path
    variables: dict[str, str]  # that its processes need

    def run(self, *arguments: str | Path, **variables: str) -> str:
        """Run Python in the repository and return its output."""
        command = [self.interpreter, *arguments]
        found = {"PYTHONPATH": str(REPOSITORY)}
        if "PYTHONPATH" in self.variables:
            found["PYTHONPATH"] += os.pathsep + self.variables["PYTHONPATH"]
        return run_command(*command, **{**self.variables, **found, **variables})

    def give_variables(self, folder: Path, **more: str) -> None:
        """Write the variables into the function file of a folder."""
        file = folder / "function.yaml"
        document = yaml.safe_load(file.read_text())
        entries = document["spec"].setdefault("env", [])
        entries += [
            {"name": name, "value": value} for name, value in {**self.variables, **more}.items()
        ]
        file.write_text(yaml.safe_dump(document))


def run_command(*command: str | Path, **variables: str) -> str:
    """Run a command in the repository and return what it writes to its standard output."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=REPOSITORY,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def prepare(requirements: str, scratch: Path) -> Environment:
    """Return the environment of functions with these requirements; build it if needed.

    ``scratch`` is an empty folder that lives as long as the functions.
    """
    (scratch / "requirements.txt").write_text(requirements)
    builder = EnvironmentBuilder(cache_folder() / "environments")
    interpreter = builder.prepare(scratch, PYTHON, print).interpreter
    variables = {}
    if "torchvision" in requirements or "pytorch" in requirements:
        imported = subprocess.run([interpreter, "-c", "import torchvision"], capture_output=True)
        if imported.returncode != 0:  # torchvision's wheel is for CUDA, PyTorch's is not
            (scratch / "start").mkdir()
            shutil.copy(SHIM, scratch / "start" / "sitecustomize.py")
            variables["PYTHONPATH"] = str(scratch / "start")
    return Environment(interpreter=interpreter, variables=variables)
