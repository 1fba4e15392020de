"""The command ``python -m cvat_lambda.runtime`` as users run it."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from cvat_lambda.runtime.check.fixtures import HEIGHT, WIDTH, png
from cvat_lambda.runtime.client import DashboardClient
from tests.integration.runtime.conftest import Write
from tests.integration.runtime.harness import (
    REPOSITORY,
    Runtime,
    descendants,
    running,
    wait_for_exit,
    write_function,
)
from tests.waiting import wait_for

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


def test_function_is_deployed_listed_invoked_logged_and_removed(
    runtime: Runtime, write: Write, tmp_path: Path
) -> None:
    folder = write(ECHO)
    link_shared_code(folder)
    name = folder.name
    image = tmp_path / "picture.png"
    image.write_bytes(png(WIDTH, HEIGHT, 0))
    url = ("--url", runtime.url)
    deployed = command("deploy", folder, *url)
    assert deployed.returncode == 0, deployed.stderr
    assert f"{name} is ready at 127.0.0.1:" in deployed.stdout
    (listed,) = (line for line in command("list", *url).stdout.splitlines() if name in line)
    assert listed.split()[:3] == [name, "detector", "ready"]
    called = command("invoke", name, "--image", image, "--data", '{"threshold": 0}', *url)
    assert json.loads(called.stdout) == ["shared", ["image", "threshold"]]
    assert "[info] called" in command("logs", name, "--lines", "5", *url).stdout
    assert command("remove", name, *url).returncode == 0
    missing = command("remove", name, *url)
    assert missing.returncode == 1
    assert missing.stderr.startswith(f"error: there is no function '{name}'")


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


@pytest.mark.parametrize(
    ("url", "published", "shown"),
    [
        ("http://127.0.0.1:8070", ["127.0.0.1:4001"], "127.0.0.1:4001"),
        ("http://gpu:8070", ["0.0.0.0:4001"], "gpu:4001"),
        ("http://[fd00::7]:8070", ["[::]:4001"], "[fd00::7]:4001"),
        ("http://gpu:8070", ["10.0.0.5:4001"], "10.0.0.5:4001"),
        ("https://gpu.example.org", ["functions.example.org/fn"], "functions.example.org/fn"),
        # a proxy in front of a runtime on its loopback address
        ("https://gpu.example.org", ["127.0.0.1:4001"], "the dashboard only"),
        ("http://127.0.0.1:8070", [], "-"),
    ],
)
def test_address_of_a_function_is_shown_as_seen_by_the_client(
    url: str, published: list[str], shown: str
) -> None:
    found = {"status": {"state": "ready", "externalInvocationUrls": published}}
    assert DashboardClient(url, token="").where(found) == shown


def test_failed_deployment_prints_its_reason(
    runtime: Runtime, write: Write, tmp_path: Path
) -> None:
    bad, good = write("import nothing_of_that_name\n"), write(PLAIN)
    url = ("--url", runtime.url)
    done = command("deploy", bad, good, *url)
    called = command("invoke", bad.name, *url)
    unread = command("invoke", good.name, "--image", tmp_path / "none.png", *url)
    unknown = [command(verb, "nobody", *url) for verb in ("logs", "invoke")]
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    reason = f"function '{bad.name}': the function does not load: ModuleNotFoundError"
    assert done.stderr.startswith(f"error: {reason}: No module named 'nothing_of_that_name'")
    assert "error: 1 of 2 functions are not deployed" in done.stderr
    assert "nothing_of_that_name" not in done.stdout  # printed once
    assert f"{good.name} is ready at 127.0.0.1:" in done.stdout
    reason = f"error: function '{bad.name}' is error: the function does not load"
    assert called.stderr.startswith(reason)
    assert (
        unread.stderr
        == f"error: {tmp_path / 'none.png'} cannot be read: No such file or directory\n"
    )
    for each in unknown:
        assert (each.returncode, each.stdout) == (1, "")
        assert each.stderr == f"error: there is no function 'nobody' at {runtime.url}\n"


def test_second_deployment_prints_its_own_log_records_only(runtime: Runtime, write: Write) -> None:
    version = os.urandom(8).hex()  # not converted before
    folder = write(PLAIN, extras={"convert": {"script": "c.py", "version": version}})
    (folder / "c.py").write_text("")
    url = ("--url", runtime.url)
    first, second = command("deploy", folder, *url), command("deploy", folder, *url)
    assert "converting the weights with c.py" in first.stdout, first.stderr
    assert "converting the weights" not in second.stdout
    assert f"{folder.name} is ready at " in second.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("serve", "--port", "99999"), "99999 is not a port"),
        (
            ("serve", "--port", "0", "--state-dir", "/proc/x"),
            "No such file or directory: '/proc/x'",
        ),
        (("invoke", "one", "--timeout", "nan"), "nan is not a time limit"),
        (("invoke", "one", "--timeout", "1e30"), "1e30 is not a time limit"),
        (("list", "--token", "a\nb"), "the token holds a character that no header can have"),
        (("new", "detector", "one", "--into", "/proc/x"), "No such file or directory: '/proc/x'"),
    ],
)
def test_malformed_argument_prints_one_sentence(words: tuple[str, ...], sentence: str) -> None:
    told = command(*words)
    assert told.returncode in (1, 2)
    assert sentence in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize("name", ["two words", "ümlaut", "../projects"])
def test_unknown_function_prints_one_sentence(platform: Runtime, name: str) -> None:
    for verb in ("logs", "remove"):
        told = command(verb, name, "--url", platform.url)
        assert told.stderr.startswith(f"error: there is no function {name!r}")


def test_server_other_than_a_dashboard_is_reported(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with ThreadPoolExecutor(1) as pool:
            told = pool.submit(command, "list", "--url", f"127.0.0.1:{server.getsockname()[1]}")
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail\r\n")
        assert told.result().stderr.startswith("error: what answers at http://127.0.0.1:")


def test_closed_output_pipe_exits_without_an_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)  # `head` has exited before the output ends
    folder = write_function(tmp_path, "one", "def handler(c, e):\n    return ''\n")
    words = [sys.executable, "-m", "cvat_lambda.runtime", "check", str(folder), "--lint-only"]
    done = subprocess.run(words, cwd=REPOSITORY, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


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


def test_check_writes_the_progress_of_a_function_once(tmp_path: Path) -> None:
    folder = write_function(tmp_path, "one", PLAIN)
    text = (folder / "function.yaml").read_text()
    text = text.replace("type: detector", "type: detector\n    spec: '[]'")
    (folder / "function.yaml").write_text(text)
    done = command("check", folder, CVAT_LAMBDA_CACHE=str(tmp_path / "cache"))
    assert done.stderr.count("the Python environment is ready") == 1


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


def test_missing_runtime_is_reported_with_a_remedy() -> None:
    done = command("list", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr.startswith("error: no runtime answers at http://127.0.0.1:9")
    assert "--url" in done.stderr


@pytest.mark.parametrize("url", ["ftp://gpu:8070", "http://", "http://[::1", "http://gpu:port"])
def test_malformed_url_prints_one_sentence(url: str) -> None:
    done = command("list", "--url", url)
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {url!r} is not a URL of a dashboard: write it as http://127.0.0.1:8070\n"
    )


def test_url_without_a_scheme_is_accepted() -> None:
    assert DashboardClient("gpu:8070/", token="").url == "http://gpu:8070"


@pytest.mark.parametrize("kind", ["detector", "interactor", "tracker", "reid"])
def test_new_function_of_each_kind_passes_the_check(tmp_path: Path, kind: str) -> None:
    made = command("new", kind, f"my-{kind}", "--into", tmp_path)
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
    done = command("new", kind, name, "--into", tmp_path)
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


def test_check_with_the_former_option_installer_builds_with_uv(tmp_path: Path) -> None:
    folder = Path(command("new", "reid", "one", "--into", tmp_path).stdout.split()[0])
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


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("lst", "error: 'lst' is neither a verb nor a folder: did you mean 'list'?"),
        ("Deploy", "error: 'Deploy' is neither a verb nor a folder: did you mean 'deploy'?"),
        ("zzz", "error: 'zzz' is neither a verb nor a folder: verbs are serve, list, deploy,"),
    ],
)
def test_mistyped_verb_is_named_with_the_nearest_one(word: str, sentence: str) -> None:
    done = command(word, "one")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(sentence)


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


def test_deploy_to_nuclio_runs_nuctl(tmp_path: Path) -> None:
    folder = write_function(tmp_path, "echo", ECHO)
    link_shared_code(folder)
    record = tmp_path / "record"
    tools = tmp_path / "tools"
    tools.mkdir()
    nuctl = tools / "nuctl"
    # The stand-in records its arguments and the files of the folder. The project exists already,
    # so nuctl fails to create it.
    nuctl.write_text(
        f'#!/bin/sh\necho "$@" >> {record}\n[ "$1" = deploy ] || exit 1\n'
        f'cat "$3/shared/words.py" >> {record}\n'
    )
    nuctl.chmod(0o755)
    (tools / "docker").symlink_to("/bin/false")  # it knows no network
    path = os.pathsep.join([str(tools), os.environ["PATH"]])
    done = command("deploy", folder, "--platform", "nuclio", "--namespace", "cvat", PATH=path)
    assert done.returncode == 0, done.stderr
    project, asked, shared = record.read_text().splitlines()
    assert project == "create project cvat --namespace cvat --platform local"
    words = asked.split()
    assert words[:2] == ["deploy", "--path"]
    assert words[3] == "--file"
    assert words[4] == f"{words[2]}/function.yaml"
    assert words[5:] == [
        "--project-name", "cvat", "--namespace", "cvat", "--platform", "local",
    ]  # fmt: skip
    assert shared == "WORD = 'shared'"


def test_nuctl_gets_gpu_variant_and_project_and_its_failure_is_reported(
    tmp_path: Path,
) -> None:
    folder = write_function(tmp_path, "echo", ECHO)
    (folder / "function-gpu.yaml").write_text((folder / "function.yaml").read_text())
    record = tmp_path / "record"
    nuctl = tmp_path / "nuctl"
    nuctl.write_text(f'#!/bin/sh\necho "$@" >> {record}\necho no socket\nexit 3\n')
    nuctl.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    words = ("--platform", "nuclio", "--nuclio-platform", "kube", "--project", "lab", "--gpu")
    done = command("deploy", folder, *words, PATH=path)
    assert done.returncode == 1
    assert "nuctl deploy ended with status 3" in done.stderr
    assert "nuctl create project lab said: no socket" in done.stderr
    created, deployed = record.read_text().splitlines()
    assert created == "create project lab --namespace nuclio --platform kube"
    assert "/echo/function-gpu.yaml --project-name lab " in deployed


def nuctl_deploy(tmp_path: Path, *words: str, networks: str = "") -> list[list[str]]:
    """Deploy to a stand-in of nuctl; return its `deploy` command lines, from --project-name on.

    The stand-in of docker knows `networks`.
    """
    folder = tmp_path / "echo"
    if not folder.exists():
        write_function(tmp_path, "echo", ECHO)
    record = tmp_path / "record"
    stand_ins = {
        "nuctl": f'[ "$1" = deploy ] || exit 1\nprintf "%s\\n" "$@" end >> {record}\n',
        "docker": f'[ "$1 $2" = "network inspect" ] || exit 2\ncase " {networks} " in\n'
        '*" $3 "*) exit 0;; esac\nexit 1\n',
    }
    for name, script in stand_ins.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}")
        (tmp_path / name).chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    done = command("deploy", folder, "--platform", "nuclio", *words, PATH=path)
    assert done.returncode == 0, done.stderr
    calls = record.read_text().split("\nend\n")[:-1]
    record.unlink()
    return [call.partition("--project-name\n")[2].splitlines() for call in calls]


AT_NUCLIO = ["cvat", "--namespace", "nuclio", "--platform", "local"]
IN_NETWORK = ["--platform-config", '{"attributes": {"network": "cvat_cvat"}}']


def test_deploy_to_nuclio_on_docker_joins_the_network_of_cvat_if_it_exists(tmp_path: Path) -> None:
    assert nuctl_deploy(tmp_path, networks="bridge cvat_cvat") == [[*AT_NUCLIO, *IN_NETWORK]]
    assert nuctl_deploy(tmp_path, networks="bridge") == [AT_NUCLIO]


def test_deploy_to_nuclio_on_kubernetes_names_no_network(tmp_path: Path) -> None:
    (words,) = nuctl_deploy(tmp_path, "--nuclio-platform", "kube", networks="cvat_cvat")
    assert words == [*AT_NUCLIO[:-1], "kube"]


def test_deploy_to_nuclio_with_a_network_in_the_function_file_keeps_it(tmp_path: Path) -> None:
    folder = write_function(tmp_path, "echo", ECHO)
    text = (folder / "function.yaml").read_text()
    network = "  platform: {attributes: {network: mine}}\n"
    (folder / "function.yaml").write_text(text.replace("\nspec:\n", f"\nspec:\n{network}"))
    assert nuctl_deploy(tmp_path, networks="cvat_cvat") == [AT_NUCLIO]


def test_deploy_to_nuclio_passes_the_arguments_behind_dashes_to_nuctl(tmp_path: Path) -> None:
    passed = ["--env", "A=b c", "--registry", "localhost:5000", "--no-pull", "--gpu"]
    (words,) = nuctl_deploy(tmp_path, "--network", "lab", "--", *passed)
    network = ["--platform-config", '{"attributes": {"network": "lab"}}']
    assert words == [*AT_NUCLIO, *network, *passed]


@pytest.mark.parametrize("own", [["--platform-config", "{}"], ["--platform-config={}"]])
def test_platform_config_behind_dashes_replaces_that_of_the_network(
    tmp_path: Path, own: list[str]
) -> None:
    assert nuctl_deploy(tmp_path, "--", *own, networks="cvat_cvat") == [[*AT_NUCLIO, *own]]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--", "--env", "A=b"], "error: the arguments behind -- are for nuctl"),
        (["--network", "lab"], "error: --network is for Nuclio on Docker only"),
        (
            ["--platform", "nuclio", "--nuclio-platform", "kube", "--network", "lab"],
            "error: --network is for Nuclio on Docker only",
        ),
    ],
)
def test_deploy_option_that_the_platform_does_not_have_is_an_error(
    tmp_path: Path, words: list[str], sentence: str
) -> None:
    done = command("deploy", write_function(tmp_path, "echo", ECHO), *words)
    assert done.returncode == 1
    assert done.stderr.startswith(sentence)


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


def test_missing_nuctl_prints_one_sentence(tmp_path: Path) -> None:
    folder = write_function(tmp_path, "echo", ECHO)
    done = command("deploy", folder, "--platform", "nuclio", PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("error: nuctl is not on this machine")


def test_fetch_names_functions_that_it_could_not_prepare(tmp_path: Path) -> None:
    write_function(tmp_path, "fine", "def handler(context, event):\n    return ''\n")
    lacking = {"weights": [{"file": "a.bin", "env": "NO_SUCH_MODEL", "licence": "MIT"}]}
    write_function(tmp_path, "lacking", "", extras=lacking)
    done = command("fetch", tmp_path)
    assert done.returncode == 1
    assert "error: lacking: the weights 'a.bin' cannot be fetched by a program" in done.stderr
    assert "fine" not in done.stderr


def test_runtime_does_not_import_django(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "import cvat_lambda.runtime.cli, cvat_lambda.runtime.processor.__main__\n"
        "print([name for name in sys.modules if name.partition('.')[0] == 'django'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.stdout == "[]\n", done.stderr


def test_handler_gets_converted_weights(runtime: Runtime, write: Write) -> None:
    code = (
        "import os, pathlib\n"
        "def handler(context, event):\n"
        "    folder = pathlib.Path(os.environ['CVAT_LAMBDA_WEIGHTS'])\n"
        "    return (folder / 'doubled.txt').read_text()\n"
    )
    extras = {
        "weights": [{"file": "word.txt", "local": "word.txt", "licence": "MIT"}],
        "convert": {"script": "convert.py", "version": os.urandom(8).hex()},
    }
    folder = write(code, extras=extras)
    (folder / "word.txt").write_text("ha")
    (folder / "convert.py").write_text(
        "import pathlib, sys\n"
        "source, target = map(pathlib.Path, sys.argv[1:])\n"
        "(target / 'doubled.txt').write_text((source / 'word.txt').read_text() * 2)\n"
    )
    runtime.deploy(folder)
    runtime.wait_for_state(folder.name)
    assert runtime.call(folder.name).text == "haha"


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
