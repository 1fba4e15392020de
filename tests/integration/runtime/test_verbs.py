"""The commands of ``python -m cvat_lambda.runtime`` that use a dashboard, as users run them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cvat_lambda.runtime.check.fixtures import HEIGHT, WIDTH, png
from cvat_lambda.runtime.client import DashboardClient
from tests.integration.runtime.command_line import (
    ECHO,
    PLAIN,
    command,
    in_process,
    link_shared_code,
)
from tests.integration.runtime.conftest import Write
from tests.integration.runtime.harness import REPOSITORY, Runtime, write_function


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


BINARY = """
def handler(context, event):
    text = b'{"blob":{"$bytes":[0,3]}}'
    body = len(text).to_bytes(4, "big") + text + event.body[-3:]
    return context.Response(body=body, content_type=event.content_type)
"""


def test_invoke_sends_a_binary_body_to_a_function_that_announces_it(
    runtime: Runtime, write: Write, tmp_path: Path
) -> None:
    folder = write(BINARY)
    text = (folder / "function.yaml").read_text()
    announced = text.replace("type: detector", "type: interactor\n    binary: 'true'")
    (folder / "function.yaml").write_text(announced)
    (tmp_path / "image").write_bytes(b"the image")
    assert in_process("deploy", folder, "--url", runtime.url).returncode == 0
    called = in_process("invoke", folder.name, "--image", tmp_path / "image", "--url", runtime.url)
    assert json.loads(called.stdout) == {"blob": "YWdl"}  # "age" in base64


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
        told = in_process(verb, name, "--url", platform.url)
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


def test_missing_runtime_is_reported_with_a_remedy() -> None:
    done = in_process("list", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr.startswith("error: no runtime answers at http://127.0.0.1:9")
    assert "--url" in done.stderr


@pytest.mark.parametrize("url", ["ftp://gpu:8070", "http://", "http://[::1", "http://gpu:port"])
def test_malformed_url_prints_one_sentence(url: str) -> None:
    done = in_process("list", "--url", url)
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {url!r} is not a URL of a dashboard: write it as http://127.0.0.1:8070\n"
    )


def test_url_without_a_scheme_is_accepted() -> None:
    assert DashboardClient("gpu:8070/", token="").url == "http://gpu:8070"


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("lst", "error: 'lst' is neither a verb nor a folder: did you mean 'list'?"),
        ("Deploy", "error: 'Deploy' is neither a verb nor a folder: did you mean 'deploy'?"),
        ("zzz", "error: 'zzz' is neither a verb nor a folder: verbs are serve, list, deploy,"),
    ],
)
def test_mistyped_verb_is_named_with_the_nearest_one(word: str, sentence: str) -> None:
    done = in_process(word, "one")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(sentence)


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


def test_command_line_imports_the_web_server_for_the_verb_serve_only() -> None:
    code = "import sys, cvat_lambda.runtime.cli\nprint('aiohttp' in sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.stdout == "False\n", done.stderr


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
