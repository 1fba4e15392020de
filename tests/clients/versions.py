"""Runs the scenario with one version of cvat-sdk and cvat-cli, in its own environment."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cvat_lambda.runtime.environments.build import EnvironmentBuilder
from cvat_lambda.runtime.errors import NotPrepared
from cvat_lambda.runtime.paths import cache_folder

VERSIONS = ("2.54.0", "2.60.0", "2.70.0", "2.76.0", "2.80.0")
SCENARIO = Path(__file__).with_name("scenario.py")
# The newest versions need Python 3.11. An older interpreter runs all others.
PYTHON = "3.11"


def prepare_version(version: str) -> Path:
    """Return the interpreter of an environment with one version. Raise NotPrepared."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        needs = f"cvat-sdk[masks]=={version}\ncvat-cli=={version}\n"
        (folder / "requirements.txt").write_text(needs)
        builder = EnvironmentBuilder(cache_folder() / "environments")
        python = builder.prepare(folder, PYTHON, lambda line: print(f"{version}: {line}"))
        return Path(python.interpreter)


def run_version(version: str, url: str, account: Mapping[str, str]) -> bool:
    """Run the scenario with one version. Return whether all its steps passed."""
    try:
        interpreter = prepare_version(version)
    except NotPrepared as error:
        print(f"== FAILED: {version}: {error}", flush=True)
        return False
    command = [str(interpreter), str(SCENARIO), url]
    variables = {**os.environ, **account, "PYTHONPATH": ""}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, cwd=folder, env=variables)
    print(f"== {'passed' if done.returncode == 0 else 'FAILED'}: {version}", flush=True)
    return done.returncode == 0
