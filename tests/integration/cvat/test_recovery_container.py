"""The recovery container of the compose file: its entrypoint runs in a shell, without Docker."""

from __future__ import annotations

import subprocess
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


@pytest.mark.parametrize("folder", ["/home/django", "/opt/cvat"])
def test_recovery_runs_manage_py_in_the_folder_of_cvats_version(
    services: dict[str, Any], tmp_path: Path, folder: str
) -> None:
    shell, option, script = services["cvat_lambda_recovery"]["entrypoint"]
    here = tmp_path / folder[1:]
    here.mkdir(parents=True)
    (here / "manage.py").write_text("import os, sys; print(os.getcwd(), *sys.argv[1:])")
    for known in ("/home/django", "/opt/cvat"):
        script = script.replace(known, f"{tmp_path}{known}")
    script = script.replace("$$", "$")  # as Compose does
    done = subprocess.run([shell, option, script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(here), "recover_requests", "--loop", "30"]


def test_recovery_without_a_known_folder_reports_it(
    services: dict[str, Any], tmp_path: Path
) -> None:
    shell, option, script = services["cvat_lambda_recovery"]["entrypoint"]
    for known in ("/home/django", "/opt/cvat"):
        script = script.replace(known, f"{tmp_path}{known}")
    script = script.replace("$$", "$")
    done = subprocess.run([shell, option, script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "manage.py of CVAT was not found\n")
