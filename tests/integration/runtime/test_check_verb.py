"""``new`` and ``check``, as users run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.integration.runtime.command_line import PLAIN, command, in_process
from tests.integration.runtime.harness import (
    REPOSITORY,
    descendants,
    wait_for_exit,
    write_function,
)
from tests.waiting import wait_for


def test_closed_output_pipe_exits_without_an_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)  # `head` has exited before the output ends
    folder = write_function(tmp_path, "one", "def handler(c, e):\n    return ''\n")
    words = [sys.executable, "-m", "cvat_lambda.runtime", "check", str(folder), "--lint-only"]
    done = subprocess.run(words, cwd=REPOSITORY, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_check_writes_the_progress_of_a_function_once(tmp_path: Path) -> None:
    folder = write_function(tmp_path, "one", PLAIN)
    text = (folder / "function.yaml").read_text()
    text = text.replace("type: detector", "type: detector\n    spec: '[]'")
    (folder / "function.yaml").write_text(text)
    done = command("check", folder, CVAT_LAMBDA_CACHE=str(tmp_path / "cache"))
    assert done.stderr.count("the Python environment is ready") == 1


@pytest.mark.parametrize("kind", ["detector", "interactor", "tracker", "reid"])
def test_new_function_of_each_kind_passes_the_check(tmp_path: Path, kind: str) -> None:
    made = in_process("new", kind, f"my-{kind}", "--into", tmp_path)
    assert made.returncode == 0, made.stderr
    checked = command("check", tmp_path / f"my-{kind}", "--json")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert json.loads(checked.stdout) == {
        "name": f"my-{kind}",
        "passed": True,
        "errors": [],
        "warnings": [],
    }


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        ("detector", "No Good", "cannot name a function"),
        ("detector", "there", "exists already"),
    ],
)
def test_new_function_with_an_invalid_or_used_name_is_refused(
    tmp_path: Path, kind: str, name: str, sentence: str
) -> None:
    (tmp_path / "there").mkdir()
    done = in_process("new", kind, name, "--into", tmp_path)
    assert done.returncode == 1
    assert sentence in done.stderr


def test_check_reports_violations_of_the_contract(tmp_path: Path) -> None:
    spec = json.dumps([{"id": 1, "name": "cat", "type": "rectangle"}])
    code = (
        "import json\n"
        "def handler(context, event):\n"
        "    items = [{'label': 'dog', 'type': 'rectangle', 'points': [1, 2, 3]}]\n"
        "    return context.Response(body=json.dumps(items), content_type='application/json')\n"
    )
    folder = write_function(tmp_path, "wrong", code)
    text = (folder / "function.yaml").read_text()
    (folder / "function.yaml").write_text(
        text.replace("type: detector", f"type: detector\n    spec: '{spec}'")
    )
    done = command("check", folder, "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["passed"]) == (1, False)
    assert "item 0: label 'dog' is not among the labels of its spec" in found["errors"]
    assert "item 0: a rectangle cannot have 3 coordinates" in found["errors"]
    assert (
        "a call without an image was answered with 200: answer 400 and one sentence"
        in found["errors"]
    )


ONLY_RGB = """
import base64, json
def handler(context, event):
    try:
        image = base64.b64decode(event.body["image"])
        assert image[:4] == b"\\x89PNG"
    except (KeyError, AssertionError):
        return context.Response(body="no image", content_type="text/plain", status_code=400)
    if image[25] != 2:  # the colour type of a PNG
        raise ValueError("three channels are needed")
    item = {"label": "cat", "type": "rectangle", "points": [0, 0, 5, 5], "confidence": 1}
    return context.Response(body=json.dumps([item]), content_type="application/json")
"""


def test_check_reports_failing_images_and_types_that_do_not_fit_their_labels(
    tmp_path: Path,
) -> None:
    folder = write_function(tmp_path, "One.Two", ONLY_RGB)
    document = yaml.safe_load((folder / "function.yaml").read_text())
    labels = [{"id": 1, "name": "cat", "type": "mask"}]
    document["metadata"]["annotations"]["spec"] = json.dumps(labels)
    (folder / "function.yaml").write_text(yaml.safe_dump(document))
    done = command("check", folder, "--json")
    found = json.loads(done.stdout)
    assert (found["name"], found["passed"]) == ("One.Two", False)
    for mode in ("grey", "RGBA", "palette", "16-bit grey"):
        assert any(
            text.startswith(f'{{"image": "{mode} picture"}} was answered with 500')
            for text in found["errors"]
        ), found["errors"]
    fault = "item 0: type 'rectangle' does not fit label 'cat' of type 'mask'"
    assert found["errors"].count(fault) == 4  # three thresholds, and a call without one
    assert any("'One.Two' is not a DNS label" in text for text in found["warnings"])


ANNOUNCES_BINARY = """
import json
def handler(context, event):
    if event.content_type == "application/x-cvat-lambda":
        return context.Response(body="no idea", content_type="text/plain", status_code=400)
    if "image" not in event.body or event.body["image"].startswith("bm8g"):
        return context.Response(body="no image", content_type="text/plain", status_code=400)
    return context.Response(body="[]", content_type="application/json")
"""


def test_check_sends_binary_bodies_to_a_function_that_announces_them(tmp_path: Path) -> None:
    folder = write_function(tmp_path, "one", ANNOUNCES_BINARY)
    document = yaml.safe_load((folder / "function.yaml").read_text())
    document["metadata"]["annotations"] |= {"spec": '[{"id": 1, "name": "cat"}]', "binary": "true"}
    (folder / "function.yaml").write_text(yaml.safe_dump(document))
    found = json.loads(command("check", folder, "--json").stdout)
    assert not found["passed"]
    assert {text.partition(": ")[0] for text in found["errors"]} == {"with a binary body"}
    assert any("was answered with 400: no idea" in text for text in found["errors"])


def test_check_with_the_former_option_installer_builds_with_uv(tmp_path: Path) -> None:
    folder = Path(in_process("new", "reid", "one", "--into", tmp_path).stdout.split()[0])
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text("#!/bin/sh\necho error: it is uv that was asked\nexit 1\n")
    uv.chmod(0o755)
    env = {
        "PATH": f"{uv.parent}:{os.environ['PATH']}",
        "CVAT_LAMBDA_CACHE": str(tmp_path / "cache"),
    }
    checked = command("check", folder, "--installer", "pip", **env)
    assert checked.returncode == 1
    assert "error: it is uv that was asked" in checked.stdout


def test_killed_check_leaves_no_process(tmp_path: Path) -> None:
    slow = "import time\ndef init_context(context):\n    time.sleep(120)\n"
    folder = write_function(tmp_path, "slow", slow + "def handler(c, e):\n    return ''\n")
    text = (folder / "function.yaml").read_text()
    text = text.replace("type: detector", "type: detector\n    spec: '[]'")
    (folder / "function.yaml").write_text(text)
    words = [sys.executable, "-m", "cvat_lambda.runtime", "check", str(folder)]
    with subprocess.Popen(words, cwd=REPOSITORY, stderr=subprocess.DEVNULL) as check:
        # the runtime, the processor and the worker
        below = wait_for(
            "the processes",
            lambda: descendants(check.pid),
            lambda found: len(found) >= 3,
            timeout_s=120,
        )
        check.kill()
    wait_for_exit(below)
