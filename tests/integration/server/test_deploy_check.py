"""``manage.py check --deploy`` with the settings of the standalone server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY


def test_settings_of_a_server_behind_https_pass_the_deployment_checks(tmp_path: Path) -> None:
    ours = ("CVAT_LAMBDA_", "DJANGO_", "DATABASE_URL")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {
        "CVAT_LAMBDA_HOME": str(tmp_path),
        "CVAT_LAMBDA_HTTPS": "1",
        "DJANGO_SETTINGS_MODULE": "cvat_lambda.server.settings",
        "PYTHONPATH": str(REPOSITORY),
    }
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "django",
            "check",
            "--deploy",
            "--tag",
            "security",
            "--fail-level",
            "WARNING",
        ],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
