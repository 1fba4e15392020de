"""Deployed functions: which code runs, what is stored, and the effect of invalid requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from cvat_lambda.runtime import commands
from cvat_lambda.runtime.client import DashboardClient
from tests.integration.runtime.conftest import Write, document, embedded_only
from tests.integration.runtime.harness import REPOSITORY, Runtime, running, write_function
from tests.waiting import wait_for

CODE = """
import os
def handler(context, event):
    if event.body == b"die":
        os._exit(1)
    return VERSION
"""


def code(version: str) -> str:
    return f"VERSION = {version!r}\n{CODE}"


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    return tmp_path / "functions"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def put(runtime: Runtime, folder: Path, **spec: Any) -> requests.Response:
    """Deploy a local folder over REST and wait until the deployment has ended."""
    document = {
        "metadata": {"name": folder.name, "labels": {"made-for": spec.pop("label", "")}},
        "spec": {"build": {"path": str(folder)}, **spec},
    }
    wait = {"x-nuclio-wait-function-action": "true"}
    return runtime.request("PUT", f"/api/functions/{folder.name}", json=document, headers=wait)


def let_a_worker_die(runtime: Runtime, name: str) -> None:
    before = runtime.log(name).count("is restarted")
    assert runtime.call(name, data=b"die").status_code == 502
    wait_for(
        "the line in the log",
        lambda: runtime.log(name).count("is restarted"),
        lambda count: count > before,
    )


# --- bad requests --------------------------------------------------------------------------------


@embedded_only
@pytest.mark.parametrize(
    "wrong",
    [
        {"metadata": ["x"]},
        {"metadata": {"name": 5}, "spec": {}},
        {"metadata": {"name": "bad", "labels": "x"}},
        {"metadata": {"name": "bad", "annotations": [1]}},
        {"spec": {"build": "x"}},
        {"spec": {"build": {"path": 5}}},
        {"spec": {"build": {"functionSourceCode": 5}}},
        {"spec": {"build": {"path": "data:,x", "codeEntryAttributes": "x"}}},
        {"spec": {"triggers": {"h": {"kind": "http", "attributes": "x"}}}},
        {"spec": {"triggers": "x"}},
        {"spec": {"resources": {"limits": "4Gi"}}},
        {"x-cvat-lambda": "x"},
    ],
)
def test_request_with_wrong_types_is_400_and_stores_nothing(
    platform: Runtime, functions: Path, wrong: dict[str, Any]
) -> None:
    folder = write_function(functions, "bad", code("x"))
    document = {"metadata": {"name": "bad"}, **wrong}
    document["spec"] = {"build": {"path": str(folder)}, **document.get("spec", {})}
    for method, path in (("POST", "/api/functions"), ("PUT", "/api/functions/bad")):
        answer = platform.request(method, path, json=document)
        assert (answer.status_code, answer.json()["error"] != "") == (400, True), answer.text
    assert platform.request("GET", "/api/functions/bad").status_code == 404


def test_runtime_restarts_after_a_bad_request(functions: Path, state: Path) -> None:
    folder = write_function(functions, "bad", code("x"))
    with running([], state) as runtime:
        assert put(runtime, folder, resources={"limits": "4Gi"}).status_code == 400
        assert list(state.glob("deployed/bad/*")) == []
    with running([], state) as runtime:
        assert runtime.request("GET", "/api/functions").json() == {}
        assert put(runtime, folder).status_code == 202
        assert runtime.call("bad").text == "x"


@embedded_only
@pytest.mark.parametrize("body", [{"metadata": "x"}, {"metadata": ["x"]}, {}])
def test_deletion_with_wrong_types_is_400(platform: Runtime, body: dict[str, Any]) -> None:
    for path in ("/api/functions", "/api/projects"):
        assert platform.request("DELETE", path, json=body).status_code == 400


STORED = (  # the stored record of a function, and the message of its state
    ("no json", "what was deployed cannot be read any more"),
    ("[]", "what was deployed cannot be read any more"),
    ('{"document": {}, "folder": "/nowhere"}', "what was deployed cannot be read any more"),
    ('{"document": 5, "folder": "FOLDER"}', "'metadata' is missing"),
    (
        '{"document": {"metadata": {"name": "old-4"}, "spec": {"resources": {"limits": "4Gi"}}},'
        ' "folder": "FOLDER"}',
        "spec.resources.limits must be a mapping",
    ),
)


def test_unreadable_stored_functions_are_in_error_and_others_run(
    functions: Path, state: Path
) -> None:
    write_function(functions, "good", code("x"))
    for number, (record, _) in enumerate(STORED):
        kept = state / "deployed" / f"old-{number}" / "deployed.json"
        kept.parent.mkdir(parents=True)
        kept.write_text(record.replace("FOLDER", str(functions)))
    with running([functions], state) as runtime:
        runtime.wait_for_state("good")
        for number, (_, message) in enumerate(STORED):
            name = f"old-{number}"
            status = runtime.function(name)["status"]
            assert (status["state"], message in status["message"]) == ("error", True), status
            mended = write_function(functions, name, code("mended"))
            assert put(runtime, mended).status_code == 202
            assert runtime.call(name).text == "mended"


def test_a_folder_with_a_value_of_the_wrong_type_is_in_error_and_the_others_run(
    functions: Path, state: Path
) -> None:
    write_function(functions, "bad", code("x"), resources={"limits": "4Gi"})
    write_function(functions, "good", code("x"))
    with running([functions], state) as runtime:
        runtime.wait_for_state("good")
        message = runtime.function("bad")["status"]["message"]
        assert "spec.resources.limits must be a mapping" in message


# --- the code that runs --------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["folder", "REST"])
def test_restarted_worker_runs_the_deployed_code(functions: Path, state: Path, way: str) -> None:
    folder = write_function(functions, "one", code("v1"), trigger={"numWorkers": 2})
    with running([functions] if way == "folder" else [], state) as runtime:
        if way == "REST":
            put(runtime, folder)
        runtime.wait_for_state("one")
        (folder / "main.py").write_text(code("never deployed"))
        let_a_worker_die(runtime, "one")
        wait_for(
            "the state",
            lambda: runtime.request("GET", "/api/functions/one").json()["status"]["state"],
            lambda state: state == "ready",
        )
        assert [runtime.call("one").text for _ in range(6)] == ["v1"] * 6
    with running([functions] if way == "folder" else [], state) as runtime:
        runtime.wait_for_state("one")
        # Functions of folders are deployed at each start, others by a request only.
        assert runtime.call("one").text == ("never deployed" if way == "folder" else "v1")


def test_serving_version_is_shown_and_kept_after_failed_updates(
    functions: Path, state: Path
) -> None:
    folder = write_function(functions, "one", code("v1"))
    with running([], state) as runtime:
        put(runtime, folder, label="v1")
        (folder / "main.py").write_text("import nothing_of_that_name\n")
        for number in range(3):
            put(runtime, folder, label="v2", description=f"try {number}")
            found = runtime.wait_for_state("one", "error")
            assert found["metadata"]["labels"]["made-for"] == "v1"
            assert found["spec"]["description"] == "one for tests"
        let_a_worker_die(runtime, "one")
        wait_for(
            "an answer of the new version",
            lambda: runtime.call("one").text,
            lambda text: text == "v1",
        )
        status = runtime.function("one")["status"]
        assert status["state"] == "error"  # a restarted worker does not change it
        assert "the version before it keeps serving" in status["message"]
        assert len(list(state.glob("deployed/one/source-*"))) == 1
    with running([], state) as runtime:
        found = runtime.wait_for_state("one", "ready", "error")
        assert (found["status"]["state"], runtime.call("one").text) == ("ready", "v1")
        (folder / "main.py").write_text(code("v3"))
        put(runtime, folder, label="v3")
        found = runtime.wait_for_state("one", "ready", "error")
        assert (found["status"]["state"], found["metadata"]["labels"]["made-for"]) == (
            "ready",
            "v3",
        )
        wait_for(
            "deletion of the old sources",
            lambda: list(state.glob("deployed/one/source-*")),
            lambda kept: len(kept) == 1,
        )


# --- one after the other ------------------------------------------------------------------------

SLOW = """
import time
def handler(context, event):
    print("begun", flush=True)
    time.sleep(3)
    return "old"
"""


@embedded_only
def test_function_created_during_a_removal_of_its_name_keeps_its_code(state: Path) -> None:
    with running([], state) as runtime, ThreadPoolExecutor(2) as pool:
        assert runtime.request("POST", "/api/functions", json=document("one", SLOW)).ok
        runtime.wait_for_state("one")
        address = runtime.address("one")
        call = pool.submit(requests.post, address, timeout=60)
        wait_for("the line in the log", lambda: runtime.log("one"), lambda log: "begun" in log)
        body = {"metadata": {"name": "one"}}
        removal = pool.submit(runtime.request, "DELETE", "/api/functions", json=body)
        wait_for(
            "the deletion of the function",
            lambda: runtime.request("GET", "/api/functions").json(),
            lambda found: not found,
        )
        made = runtime.request("POST", "/api/functions", json=document("one", code("new")))
        assert (made.status_code, removal.result().status_code) == (202, 204)
        assert call.result().text == "old"
        runtime.wait_for_state("one")
        let_a_worker_die(runtime, "one")  # the next one loads the code again
        assert runtime.call("one").text == "new"
    with running([], state) as runtime:
        runtime.wait_for_state("one")


def test_deployment_that_cannot_be_recorded_fails_and_stores_nothing(
    runtime: Runtime, write: Write
) -> None:
    folder = write(code("a"))
    name = folder.name
    body = {"metadata": {"name": name}, "spec": {"build": {"path": str(folder)}}}
    assert runtime.state_folder is not None
    record = runtime.state_folder / "deployed" / name / "deployed.json"
    record.mkdir(parents=True)  # writing fails as on a full disk
    answer = runtime.request("POST", "/api/functions", json=body)
    assert answer.status_code == 500
    assert f"what is deployed of '{name}' cannot be recorded" in answer.json()["error"]
    assert name not in runtime.request("GET", "/api/functions").json()
    record.rmdir()
    assert list(record.parent.glob("source-*")) == []
    assert runtime.request("POST", "/api/functions", json=body).ok
    runtime.wait_for_state(name)


def test_function_that_never_loaded_shows_its_last_deployment(functions: Path, state: Path) -> None:
    folder = write_function(functions, "one", "import nothing_of_that_name\n")
    with running([], state) as runtime:
        for label in ("v1", "v2"):
            put(runtime, folder, label=label)
            found = runtime.wait_for_state("one", "error")
            assert found["metadata"]["labels"]["made-for"] == label
        assert len(list(state.glob("deployed/one/source-*"))) == 1
    with running([], state) as runtime:
        assert runtime.wait_for_state("one", "error")["metadata"]["labels"]["made-for"] == "v2"


def test_weights_beside_the_code_are_read_from_there_and_converted_once(
    functions: Path, state: Path
) -> None:
    source = (
        "import os\n"
        "def handler(context, event):\n"
        "    return open(os.environ['CVAT_LAMBDA_WEIGHTS'] + '/made').read()\n"
    )
    extras = {
        "weights": [{"file": "a.bin", "local": "../a.bin"}],  # outside the folder
        "convert": {"script": "convert.py", "version": os.urandom(8).hex()},
    }
    folder = write_function(functions, "one", source, extras=extras)
    (functions / "a.bin").write_text("abc")
    (folder / "convert.py").write_text(
        "import pathlib, sys\n"
        "read = pathlib.Path(sys.argv[1], 'a.bin').read_text()\n"
        "pathlib.Path(sys.argv[2], 'made').write_text(read.upper())\n"
    )
    for number in range(2):
        with running([], state) as runtime:
            if number == 0:
                put(runtime, folder)
            runtime.wait_for_state("one")
            assert runtime.call("one").text == "ABC"
    log = (state / "logs" / "one.log").read_text()
    assert log.count("converting the weights with convert.py") == 1


# --- where it is kept ----------------------------------------------------------------------------


def test_a_relative_state_folder_serves_what_is_deployed(tmp_path: Path) -> None:
    folder = write_function(tmp_path / "functions", "one", code("x"))
    command = [sys.executable, "-m", "cvat_lambda.runtime", "serve", "--port", "0"]
    ready = tmp_path / "ready"
    with subprocess.Popen(
        [*command, "--state-dir", "state", "--ready-file", str(ready)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            wait_for("the ready file", ready.exists, timeout_s=60)
            runtime = Runtime(ready.read_text().strip(), None)
            assert put(runtime, folder).status_code == 202
            found = runtime.wait_for_state("one", "ready", "error")["status"]
            assert found["state"] == "ready", found
            assert runtime.call("one").text == "x"
        finally:
            process.terminate()
    assert (tmp_path / "state" / "deployed" / "one" / "deployed.json").exists()


def test_function_of_an_unknown_project_is_412_and_stores_nothing(
    functions: Path, state: Path
) -> None:
    folder = write_function(functions, "one", code("x"))
    labels = {"nuclio.io/project-name": "nowhere"}
    document = {"metadata": {"name": "one", "labels": labels}}
    body = {**document, "spec": {"build": {"path": str(folder)}}}
    with running([], state) as runtime:
        for method, path in (("POST", "/api/functions"), ("PUT", "/api/functions/one")):
            answer = runtime.request(method, path, json=body)
            assert answer.status_code == 412
            assert answer.json()["error"] == "Project does not exist"
        assert runtime.request("GET", "/api/functions").json() == {}
        made = {"metadata": {"name": "nowhere"}, "spec": {}}
        assert runtime.request("POST", "/api/projects", json=made).status_code == 201
        assert runtime.request("POST", "/api/functions", json=body).status_code == 202
        runtime.wait_for_state("one")
    with running([], state) as runtime:
        runtime.wait_for_state("one")  # its project was restored, too
        assert json.dumps("nowhere") in runtime.request("GET", "/api/projects").text


def test_deploy_creates_the_project(runtime: Runtime, write: Write) -> None:
    folder = write(code("x"))
    client = DashboardClient(runtime.url, token="")
    for _ in range(2):  # it may exist already
        found = commands.deploy(client, folder, lambda text: None, project=folder.name)
    assert found["metadata"]["labels"]["nuclio.io/project-name"] == folder.name
