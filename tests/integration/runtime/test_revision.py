"""The revision of a function changes with its code, its environment and its weights."""

from __future__ import annotations

from pathlib import Path

from tests.integration.runtime.command_line import command
from tests.integration.runtime.harness import Runtime, running, write_function

CODE = """
import json
def handler(context, event):
    return json.dumps({"version": VERSION})
"""


def revision(runtime: Runtime) -> str:
    return str(runtime.function("one")["metadata"]["annotations"]["cvat-lambda/revision"])


def deploy(runtime: Runtime, folder: Path) -> tuple[str, str]:
    """Deploy a folder. Return the new revision and the output of the command."""
    done = command("deploy", folder, "--url", runtime.url)
    assert done.returncode == 0, done.stderr
    return revision(runtime), done.stdout


def test_deploy_after_a_change_shows_the_old_and_the_new_revision(tmp_path: Path) -> None:
    folder = write_function(tmp_path, "one", f"VERSION = 1\n{CODE}")
    with running([], tmp_path / "state") as runtime:
        first, printed = deploy(runtime, folder)
        assert f"revision {first}\n" in printed
        again, printed = deploy(runtime, folder)
        assert (again, f"revision {first} (unchanged)\n" in printed) == (first, True)
        (folder / "main.py").write_text(f"VERSION = 2\n{CODE}")
        second, printed = deploy(runtime, folder)
        assert f"revision {second} replaces {first}\n" in printed
        (folder / "model.onnx").write_bytes(b"another model")
        third, _ = deploy(runtime, folder)
        assert len({first, second, third}) == 3
        answer = runtime.call("one", {})
        assert (answer.json(), answer.headers["X-Cvat-Lambda-Revision"]) == ({"version": 2}, third)
    with running([], tmp_path / "state") as runtime:  # the deployed version is served again
        runtime.wait_for_state("one")
        assert revision(runtime) == third
    with running([folder], tmp_path / "other") as runtime:  # now served from the folder
        runtime.wait_for_state("one")
        assert revision(runtime) == third


def test_revision_changes_with_the_content_of_weights_outside_the_folder(tmp_path: Path) -> None:
    weights = tmp_path / "model.bin"
    extras = {"weights": [{"file": "model.bin", "env": "CVL_TEST_MODEL"}]}
    folder = write_function(tmp_path, "one", f"VERSION = 1\n{CODE}", extras=extras)
    found = []
    for content in (b"one", b"two", b"one"):
        weights.write_bytes(content)
        env = {"CVL_TEST_MODEL": str(weights)}
        with running([folder], tmp_path / "state", env=env) as runtime:
            runtime.wait_for_state("one")
            found.append(revision(runtime))
    assert (found[0] == found[2], found[0] != found[1]) == (True, True)
