"""A function's entry points are found by the rules of Nuclio's wrapper, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

SERVERLESS = Path(__file__).resolve().parents[3] / "serverless"
FOLDER = min(path.parent for path in SERVERLESS.glob("*/*/*/function.yaml"))
MODEL = """
class Doubler:
    device = "CPU"

    def answer(self, body):
        return [2 * body["number"]]


def load():
    return Doubler()
"""
# Finds handler and init_context by the rules of Nuclio's wrapper (`_nuclio_wrapper.py`): by the
# handler's name, and in the module that defines the handler.
CALL = """
import importlib, json, sys
from types import SimpleNamespace
from nuclio_sdk import Context, Event

module, name = sys.argv[1].split(":")
handler = getattr(importlib.import_module(module), name)
messages = []
context = Context(SimpleNamespace(info=messages.append))
sys.modules[handler.__module__].init_context(context)
response = handler(context, Event(body=json.loads(sys.argv[2])))
print(json.dumps([messages, response.status_code, json.loads(response.body)]))
"""


def handler_of(folder: Path) -> str:
    return str(yaml.safe_load((folder / "function.yaml").read_text())["spec"]["handler"])


@pytest.mark.parametrize(
    ("body", "status", "answer"),
    [({"number": 21}, 200, [42]), ([], 400, {"error": "the body is not a JSON object"})],
)
def test_the_entry_points_are_found_as_nuclio_finds_them(
    tmp_path: Path, body: object, status: int, answer: object
) -> None:
    (tmp_path / "common").symlink_to(SERVERLESS / "common")
    (tmp_path / "main.py").write_text((FOLDER / "main.py").read_text())
    (tmp_path / "model.py").write_text(MODEL)
    command = [sys.executable, "-c", CALL, handler_of(FOLDER), json.dumps(body)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert json.loads(done.stdout) == [["The model runs on CPU"], status, answer]
