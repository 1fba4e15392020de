"""``serve`` with its options: addresses, logs, tokens, GPU variants and projects."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.integration.runtime.command_line import ECHO, PLAIN, command
from tests.integration.runtime.harness import (
    REPOSITORY,
    Runtime,
    running,
    write_function,
)
from tests.waiting import wait_for


def test_list_shows_a_reachable_address_of_a_runtime_on_all_interfaces(
    tmp_path: Path,
) -> None:
    write_function(tmp_path / "functions", "hello", "def handler(c, e):\n    return 'hello'\n")
    options = ("--host", "0.0.0.0", "--token", "secret")
    with running([tmp_path / "functions"], tmp_path / "state", *options) as runtime:
        status = runtime.wait_for_state("hello")["status"]
        port = status["httpPort"]
        assert status["externalInvocationUrls"] == [f"0.0.0.0:{port}"]
        assert status["internalInvocationUrls"] == [f"127.0.0.1:{port}"]
        listed = command("list", "--url", runtime.url, "--token", "secret").stdout.split()
        assert listed[-1] == f"127.0.0.1:{port}"
        refused = command("list", "--url", runtime.url, "--token", "wrong")
        assert refused.returncode == 1
        assert refused.stderr.startswith(
            "error: the dashboard answered 401: it wants its own token"
        )
        for url in status["externalInvocationUrls"] + status["internalInvocationUrls"]:
            headers = {"x-nuclio-function-name": "hello", "x-nuclio-invoke-url": url}
            called = runtime.request("POST", "/api/function_invocations", headers=headers)
            assert (called.status_code, called.text) == (200, "hello")


def test_runtime_logs_the_states_of_its_functions(tmp_path: Path) -> None:
    write_function(tmp_path / "functions", "good", "def handler(c, e):\n    return ''\n")
    write_function(tmp_path / "functions", "bad", "import nothing_of_that_name\n")
    with running([tmp_path / "functions"], tmp_path / "state") as runtime:
        runtime.wait_for_state("good")
        runtime.wait_for_state("bad", "error")
        said = wait_for(
            "the line in the output",
            lambda: "".join(runtime.output),
            lambda text: "functions are ready" in text,
        )
    assert "INFO the dashboard listens; functions that are being prepared: 2\n" in said
    assert "INFO good is ready\n" in said
    assert "INFO 1 of 2 functions are ready; not ready: bad\n" in said
    assert "ERROR bad is error: the function does not load: ModuleNotFoundError" in said


def test_runtime_logs_the_preparation_of_its_functions(tmp_path: Path) -> None:
    folder = write_function(tmp_path / "functions", "one", PLAIN)
    package = tmp_path / "package"
    package.mkdir()
    (package / "setup.py").write_text("from setuptools import setup\nsetup(name='cvl-one')\n")
    (folder / "requirements.txt").write_text(f"{package}\n")
    cache = {"CVAT_LAMBDA_CACHE": str(tmp_path / "cache")}
    with running([tmp_path / "functions"], tmp_path / "state", env=cache) as runtime:
        said = wait_for(
            "the line in the output",
            lambda: "".join(runtime.output),
            lambda text: "functions are ready" in text,
        )
    for line in (
        "INFO one: building a Python environment in ",
        "INFO one: Prepared ",
        "INFO one: the Python environment is ready",
        "INFO one is ready",
        "INFO 1 of 1 functions are ready",
    ):
        assert line in said


@pytest.mark.parametrize(
    ("names", "served"), [("one, two", ["one", "two"]), ("all", ["one", "three", "two"])]
)
def test_variable_names_the_functions_to_serve(
    tmp_path: Path, names: str, served: list[str]
) -> None:
    for name in ("one", "two", "three"):
        write_function(tmp_path / "functions", name, PLAIN)
    only = {"CVAT_LAMBDA_FUNCTIONS": names}
    with running([tmp_path / "functions"], tmp_path / "state", env=only) as runtime:
        assert sorted(runtime.request("GET", "/api/functions").json()) == served


def test_health_check_of_the_image_passes_while_a_function_is_in_error(tmp_path: Path) -> None:
    """The check shows that the dashboard answers; a restart does not mend a function."""
    text = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", "")
    stage = text.partition(" AS functions\n")[2].partition("\nFROM ")[0]
    (line,) = (line for line in stage.splitlines() if line.startswith("HEALTHCHECK "))
    python, *words = json.loads(line.partition("CMD ")[2])
    assert (python, words[:2]) == ("python", ["-m", "cvat_lambda.runtime"])
    write_function(tmp_path / "functions", "bad", "import nothing_of_that_name\n")
    token = {"CVAT_LAMBDA_RUNTIME_TOKEN": "a-secret"}
    with running([tmp_path / "functions"], tmp_path / "state", env=token) as runtime:
        runtime.token = "a-secret"
        runtime.wait_for_state("bad", "error")
        place = {"CVAT_LAMBDA_RUNTIME_URL": runtime.url}
        assert command(*words[2:], **place, **token).returncode == 0
    assert command(*words[2:], **place, **token).returncode == 1


def test_serve_without_a_function_warns_and_names_the_folder(tmp_path: Path) -> None:
    with running([tmp_path], tmp_path / "state", "--only", "one") as runtime:
        output = "".join(runtime.output)
    assert f"ERROR no function was found below {tmp_path}" in output
    assert "WARNING no function is served: give folders to serve" in output
    assert "WARNING --only names 'one', and no function of that name was found" in output


def test_folder_with_a_gpu_variant_only_is_in_error_without_the_gpu_option(
    tmp_path: Path,
) -> None:
    code = "def handler(context, event):\n    return 'x'\n"
    folder = write_function(tmp_path / "functions", "x", code)
    (folder / "function.yaml").rename(folder / "function-gpu.yaml")
    with running([folder.parent], tmp_path / "state", "--gpu", "no") as runtime:
        status = runtime.function("x")["status"]
        assert (status["state"], "x has function-gpu.yaml only" in status["message"]) == (
            "error",
            True,
        )
        url = ("--url", runtime.url)
        refused = command("deploy", folder, *url)
        assert "use --gpu to run it all the same" in refused.stderr
        assert command("deploy", folder, "--gpu", *url).returncode == 0
        assert runtime.function("x")["status"]["state"] == "ready"
    with running([folder.parent], tmp_path / "other", "--gpu", "yes") as runtime:
        runtime.wait_for_state("x")


def test_token_file_gets_a_random_token_that_only_its_owner_can_read(tmp_path: Path) -> None:
    file = tmp_path / "token"
    seen = set()
    for _ in range(2):  # the token is kept after a restart
        with running([], tmp_path / "state", "--token-file", str(file)) as runtime:
            assert runtime.request("GET", "/api/functions").status_code == 401
            runtime.token = file.read_text().strip()
            assert runtime.request("GET", "/api/functions").status_code == 200
            seen.add(runtime.token)
    assert (len(seen), len(seen.pop()) >= 40) == (1, True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def folder_for_a_gpu(tmp_path: Path) -> Path:
    """A function whose GPU variant has an uninstallable requirement that names its file."""
    folder = write_function(tmp_path, "echo", ECHO.replace("from shared.words import WORD", ""))
    limits = "  resources: {limits: {nvidia.com/gpu: 1}}\n"
    text = (folder / "function.yaml").read_text()
    text = text.replace("type: detector", "type: detector\n    spec: '[]'")
    (folder / "function-gpu.yaml").write_text(text.replace("\nspec:\n", f"\nspec:\n{limits}"))
    missing = tmp_path / "cvl_for_a_gpu-1.0-py3-none-any.whl"
    (folder / "requirements-gpu.txt").write_text(f"{missing}\n")
    return folder


def test_gpu_variant_uses_its_own_requirements_in_every_command(
    runtime: Runtime, tmp_path: Path
) -> None:
    folder = folder_for_a_gpu(tmp_path)
    with running([folder], tmp_path / "state", "--gpu", "yes") as with_gpu:
        status = with_gpu.wait_for_state("echo", "ready", "error")["status"]
        assert status["state"] == "error"
        assert "cvl_for_a_gpu" in status["message"]
    # also as an archive over REST
    assert command("deploy", folder, "--url", runtime.url).returncode == 0
    deployed = command("deploy", folder, "--gpu", "--url", runtime.url)
    assert (deployed.returncode, "cvl_for_a_gpu" in deployed.stderr) == (1, True)
    runtime.remove("echo")
    for verb, words in (("fetch", ("--gpu", "yes")), ("check", ("--gpu",))):
        done = command(verb, folder, *words)
        assert (done.returncode, "cvl_for_a_gpu" in done.stdout + done.stderr) == (1, True)
    assert command("fetch", folder, "--gpu", "no").returncode == 0


def test_functions_belong_to_the_project_that_cvat_lists_unless_they_name_one(
    tmp_path: Path,
) -> None:
    write_function(tmp_path / "served", "served", ECHO)
    own = write_function(tmp_path / "served", "own", ECHO)
    text = (own / "function.yaml").read_text()
    label = "metadata:\n  labels: {nuclio.io/project-name: lab}\n"
    (own / "function.yaml").write_text(text.replace("metadata:\n", label))
    (tmp_path / "served" / "broken").mkdir()
    (tmp_path / "served" / "broken" / "function.yaml").write_text("metadata: [")
    deployed = write_function(tmp_path, "deployed", "def handler(context, event):\n    return ''\n")
    with running([tmp_path / "served"], tmp_path / "state") as runtime:
        assert command("deploy", deployed, "--url", runtime.url).returncode == 0
        of_cvat = runtime.request(
            "GET", "/api/functions", headers={"x-nuclio-project-name": "cvat"}
        )
        assert sorted(of_cvat.json()) == ["broken", "deployed", "served"]
        own_project = {"x-nuclio-project-name": "lab"}
        assert list(runtime.request("GET", "/api/functions", headers=own_project).json()) == ["own"]
