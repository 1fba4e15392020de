"""What is done once before the standalone server starts."""

from __future__ import annotations

import os
import subprocess
import sys

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
