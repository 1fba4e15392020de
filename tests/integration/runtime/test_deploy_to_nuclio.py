"""``deploy --platform nuclio``: what nuctl gets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.runtime.command_line import ECHO, in_process, link_shared_code
from tests.integration.runtime.harness import write_function


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
    done = in_process("deploy", folder, "--platform", "nuclio", "--namespace", "cvat", PATH=path)
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
    done = in_process("deploy", folder, *words, PATH=path)
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
    done = in_process("deploy", folder, "--platform", "nuclio", *words, PATH=path)
    assert done.returncode == 0, done.stderr
    calls = record.read_text().split("\nend\n")[:-1]
    record.unlink()
    return [call.partition("--project-name\n")[2].splitlines() for call in calls]


AT_NUCLIO = ["cvat", "--namespace", "nuclio", "--platform", "local"]


IN_NETWORK = ["--platform-config", '{"attributes": {"network": "cvat_cvat"}}']
REDIS_OF_CVAT = ["--env", "CVAT_FUNCTIONS_REDIS_HOST=cvat_redis_ondisk"]
REDIS_OF_CVAT += ["--env", "CVAT_FUNCTIONS_REDIS_PORT=6666"]


def test_deploy_to_nuclio_on_docker_joins_the_network_of_cvat_if_it_exists(tmp_path: Path) -> None:
    (words,) = nuctl_deploy(tmp_path, networks="bridge cvat_cvat")
    assert words == [*AT_NUCLIO, *IN_NETWORK, *REDIS_OF_CVAT]
    assert nuctl_deploy(tmp_path, networks="bridge") == [AT_NUCLIO]


def test_deploy_to_nuclio_in_the_network_of_cvat_keeps_a_given_redis_address(
    tmp_path: Path,
) -> None:
    own = ["--env", "CVAT_FUNCTIONS_REDIS_HOST=elsewhere"]
    (words,) = nuctl_deploy(tmp_path, "--", *own, networks="cvat_cvat")
    assert words == [*AT_NUCLIO, *IN_NETWORK, *own]


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
    done = in_process("deploy", write_function(tmp_path, "echo", ECHO), *words)
    assert done.returncode == 1
    assert done.stderr.startswith(sentence)


def test_missing_nuctl_prints_one_sentence(tmp_path: Path) -> None:
    folder = write_function(tmp_path, "echo", ECHO)
    done = in_process("deploy", folder, "--platform", "nuclio", PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("error: nuctl is not on this machine")
