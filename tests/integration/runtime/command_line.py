"""The command ``python -m cvat_lambda.runtime``, and functions for its tests."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from cvat_lambda.runtime.cli import main
from tests.integration.runtime.harness import REPOSITORY

ECHO = """
import json
from shared.words import WORD
def handler(context, event):
    context.logger.info("called")
    seen = sorted(event.body)
    return context.Response(body=json.dumps([WORD, seen]), content_type="application/json")
"""
PLAIN = "def handler(context, event):\n    return ''\n"


def command(*words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m cvat_lambda.runtime`` with these arguments."""
    return subprocess.run(
        [sys.executable, "-m", "cvat_lambda.runtime", *map(str, words)],
        cwd=REPOSITORY,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=600,
    )


def link_shared_code(folder: Path) -> None:
    """Give a function folder a link to shared code beside it, as under serverless/."""
    shared = folder.parent / "shared"
    shared.mkdir()
    (shared / "words.py").write_text("WORD = 'shared'\n")
    (folder / "shared").symlink_to("../shared")


def in_process(*words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the same command in the process of the test, which takes a tenth of the time.

    What a test asserts about child processes and signals needs `command`.
    """
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name, value in env.items():
            patch.setenv(name, value)
        try:
            status = main([str(word) for word in words])
        except SystemExit as exc:
            status = int(exc.code or 0)
    return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())
