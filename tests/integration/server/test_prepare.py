"""What is done once before the standalone server starts."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY


def test_wrong_setting_ends_the_preparation_with_its_sentence_and_without_a_traceback() -> None:
    settings = {
        "DJANGO_SETTINGS_MODULE": "cvat_lambda.server.settings",
        "CVAT_LAMBDA_BATCH_FRAMES": "-1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "cvat_lambda.server.prepare"],
        cwd=REPOSITORY,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "CVAT_LAMBDA_BATCH_FRAMES must be above 0" in done.stderr
    assert "Traceback" not in done.stderr


def test_preparation_tells_its_parent_the_login_and_prints_no_password(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    done = subprocess.run(
        [sys.executable, "-m", "cvat_lambda.server.prepare", "--login-fd", str(writing)],
        cwd=REPOSITORY,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "cvat_lambda.server.settings",
            "CVAT_LAMBDA_HOME": str(tmp_path),
            "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
        },
        pass_fds=(writing,),
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(writing)
    with os.fdopen(reading) as pipe:
        login = pipe.read()
    assert done.returncode == 0, done.stderr
    account = json.loads((tmp_path / "account.json").read_text())
    assert login == f"log in as admin with the password {account['password']}"
    assert account["password"] not in done.stdout + done.stderr
    assert stat.S_IMODE((tmp_path / "account.json").stat().st_mode) == 0o600
