"""The scripts of the repository tell their options on a machine where nothing is installed yet."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

SCRIPTS = sorted(path.name for path in (REPOSITORY / "script").iterdir() if path.is_file())


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_tells_its_options_without_making_an_environment(tmp_path: Path, name: str) -> None:
    """``script/bench --help`` took minutes in a fresh clone."""
    folder = tmp_path / "script"  # without script/environment, which makes it
    folder.mkdir()
    shutil.copy(REPOSITORY / "script" / name, folder)
    for part in ("cvat_lambda", "tests", "serverless"):
        (tmp_path / part).symlink_to(REPOSITORY / part)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')  # without packages
    python.chmod(0o755)
    done = subprocess.run(
        [str(folder / name), "--help"],
        env={"PATH": os.environ["PATH"], "PYTHON": str(python)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"script/{name}" in done.stdout
    assert not list(tmp_path.glob(".venv*"))
