from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cvat_lambda.runtime.check.lint import lint
from cvat_lambda.runtime.spec.build_lines import read_build_lines
from cvat_lambda.runtime.spec.function_file import parse_function


def directives(*values: str, kind: str = "RUN") -> dict[str, Any]:
    return {"directives": {"preCopy": [{"kind": kind, "value": value} for value in values]}}


@pytest.mark.parametrize(
    ("line", "requirements"),
    [
        ("pip install ultralytics", ["ultralytics"]),
        (
            "pip3 install --no-cache-dir -U numpy==1.26 'Pillow>=9,<12'",
            ["numpy==1.26", "Pillow>=9,<12"],
        ),
        ("python3 -m pip install --upgrade pip setuptools", ["setuptools"]),
        ("/usr/bin/python3.10 -m pip install onnx", ["onnx"]),
        ("pip install a && pip install b; pip install 'c[x]'", ["a", "b", "c[x]"]),
        ("pip install a \\\n    b", ["a", "b"]),
        ("PIP_NO_CACHE_DIR=1 pip install a", ["a"]),
        ("uv pip install --system a", ["a"]),
        (
            "pip install torch --index-url https://download.example/cpu",
            ["torch", "--extra-index-url https://download.example/cpu"],
        ),
        ("pip install --extra-index-url=https://x/ a", ["--extra-index-url https://x/", "a"]),
        ("pip install -t /somewhere a", ["a"]),
        (
            "pip install opencv-python opencv-contrib-python>=4",
            ["opencv-python-headless", "opencv-contrib-python-headless>=4"],
        ),
        ("pip install opencv-python-headless", ["opencv-python-headless"]),
        ("pip install git+https://github.example/a/b.git", ["git+https://github.example/a/b.git"]),
        ("pip install -r more.txt", ["-r more.txt"]),
        ("pip install -r /opt/nuclio/more.txt -e /opt/nuclio/own", ["-r more.txt", "-e ./own"]),
        ("pip install a b && pip install a", ["a", "b"]),
        ("apt-get update && apt-get install -y python3-pip libgl1 git && pip install a", ["a"]),
        ("mkdir -p /x && ln -s /usr/bin/python3 /usr/bin/python && rm -rf /var/lib/x", []),
        ("pip install -i https://x/ --trusted-host x a", ["--extra-index-url https://x/", "a"]),
        ("pip install --no-binary :all: --config-settings k=v a", ["a"]),
        ("pip --no-cache-dir install a", ["a"]),
        ("pip config set global.index-url https://x/", ["--extra-index-url https://x/"]),
        ("pip install -U openmim && mim install mmcv==2.1.0", ["openmim", "mmcv==2.1.0"]),
        ("conda run -n base pip install a", ["a"]),
        ("bash -lc 'apt-get update && pip install a'", ["a"]),
        ('["pip", "install", "a"]', ["a"]),
        ("(pip install a)", ["a"]),
        ("--mount=type=cache,target=/root/.cache pip install a", ["a"]),
        ("--mount=type=secret,id=x \\\n  --network=host cd /x && pip install a", ["a"]),
        ("if [ -f /x ]; then pip install a; else pip install b; fi", ["a", "b"]),
        ("pip install a > /dev/null 2>&1 || true", ["a"]),
        ("pip install 'a > 1' 'b#c'  # both", ["a > 1", "b#c"]),
        ("pip install a \\\n    # the other one\n    b", ["a", "b"]),
        ("@nuclio.postCopy", []),
        ("pip install one-1.0-py3-none-any.whl own/", ["./one-1.0-py3-none-any.whl", "./own"]),
    ],
)
def test_pip_lines_become_requirements(tmp_path: Path, line: str, requirements: list[str]) -> None:
    (tmp_path / "more.txt").write_text("")
    (tmp_path / "own").mkdir()
    (tmp_path / "one-1.0-py3-none-any.whl").write_text("")
    for build in (directives(line), {"commands": [line]}):
        found = read_build_lines(build, tmp_path)
        assert (found.requirements, found.not_run) == (requirements, [])


def lines(*pairs: tuple[str, str]) -> dict[str, Any]:
    """Return directives of several kinds."""
    return {"directives": {"preCopy": [{"kind": kind, "value": text} for kind, text in pairs]}}


@pytest.mark.parametrize(
    ("build", "requirements"),
    [
        (lines(("ARG", "TORCH=2.4.0"), ("RUN", "pip install torch==${TORCH}")), ["torch==2.4.0"]),
        (lines(("ENV", "TORCH=2.4.0"), ("RUN", "pip install torch==$TORCH")), ["torch==2.4.0"]),
        (lines(("ENV", "A 1.0"), ("ENV", "B=$A.1"), ("RUN", "pip install b==$B")), ["b==1.0.1"]),
        (lines(("ARG", 'TWO="a b"'), ("RUN", "pip install $TWO c")), ["a", "b", "c"]),
        (lines(("RUN", "pip install a==${A:-1.5}")), ["a==1.5"]),
        (lines(("ARG", "A=2"), ("RUN", "pip install a==${A:-1.5}")), ["a==2"]),
        (lines(("ARG", "A=1"), ("ARG", "A=2"), ("RUN", "pip install a==$A")), ["a==2"]),
        (lines(("ENV", "A=1"), ("ARG", "A=2"), ("RUN", "pip install a==$A")), ["a==1"]),
        (lines(("RUN", "export A=3 && pip install a==$A")), ["a==3"]),
        (lines(("RUN", "A=3; pip install a==$A")), ["a==3"]),
        (lines(("ARG", "A=3"), ("RUN", "bash -c 'pip install a==$A'")), ["a==3"]),
        (
            lines(("ARG", "CPU=https://x/cpu"), ("RUN", "pip install a --index-url ${CPU}")),
            ["a", "--extra-index-url https://x/cpu"],
        ),
        ({**lines(("ARG", "A=3")), "commands": ["pip install a==$A"]}, ["a==3"]),
        (lines(("ARG", "PY=python3"), ("RUN", "$PY -m pip install a")), ["a"]),
        (lines(("ARG", "A="), ("RUN", "pip install a$A ${A:-b}")), ["a", "b"]),
        (lines(("ARG", "A=' '"), ("RUN", "$A")), []),
        (lines(("ARG", "PIP_INDEX_URL=https://x/")), ["--extra-index-url https://x/"]),
        (
            lines(("ARG", "PIP_INDEX_URL=https://x/"), ("RUN", "pip install -i $PIP_INDEX_URL a")),
            ["--extra-index-url https://x/", "a"],
        ),
        (
            lines(("ARG", "X=https://x/"), ("RUN", "PIP_EXTRA_INDEX_URL=$X pip install a")),
            ["--extra-index-url https://x/", "a"],
        ),
        (
            lines(("RUN", "export PIP_INDEX_URL=https://x/ && pip install a")),
            ["--extra-index-url https://x/", "a"],
        ),
    ],
)
def test_variables_of_arg_env_and_export_are_replaced_by_their_values(
    tmp_path: Path, build: dict[str, Any], requirements: list[str]
) -> None:
    found = read_build_lines(build, tmp_path)
    assert (found.requirements, found.not_run) == (requirements, [])


@pytest.mark.parametrize(
    ("line", "requirements"),
    [
        ('pip install "a==$A" "$TWO"', ["a==3", "b >=1"]),  # in double quotes one word
        ("pip install a==$A $LIST", ["a==3", "c", "d"]),  # outside quotes several words
        ("pip install x$LIST", ["xc", "d"]),
        ('pip install "$EMPTY" a', ["a"]),
        ("""pip install "a ; python_version < '3.$A'\"""", ["a ; python_version < '3.3'"]),
        (r'bash -c "pip install \"a==$A\" && echo \"1 > 0\" && pip install e"', ["a==3", "e"]),
        (r'bash -c "pip install a==\$A"', ["a==3"]),  # the inner shell replaces it
        ("bash -c 'pip install \"a==$A\"'", ["a==3"]),
        ('["bash", "-c", "pip install a==$A"]', ["a==3"]),
        (r"pip install a==\\$A", [r"a==\3"]),  # the first backslash escapes the second
        ("B='$A'; pip install a==$A", ["a==3"]),
        ("pip install a==${A:+4} b==${EMPTY:+4}2", ["a==4", "b==2"]),
        (
            "pip install -i 'https://name:p$A@x/' a",
            ["--extra-index-url https://name:p$A@x/", "a"],
        ),
        ("PIP_INDEX_URL='https://p$A@x/' pip install a", ["--extra-index-url https://p$A@x/", "a"]),
        (
            r"export PIP_INDEX_URL=https://p\$A@x/; pip install a",
            ["--extra-index-url https://p$A@x/", "a"],
        ),
    ],
)
def test_quotes_of_a_shell_decide_which_variables_are_replaced(
    tmp_path: Path, line: str, requirements: list[str]
) -> None:
    arguments = (("ARG", "A=3"), ("ARG", "TWO='b >=1'"), ("ARG", "LIST='c d'"), ("ARG", "EMPTY="))
    found = read_build_lines(lines(*arguments, ("RUN", line)), tmp_path)
    assert (found.requirements, found.not_run) == (requirements, [])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("pip install 'a==$A'", "pip install a==$A is not run: a shell does not replace this $"),
        (r"pip install a==\$A", "pip install a==$A is not run: a shell does not replace this $"),
        (r'pip install "a==\$A"', "pip install a==$A is not run: a shell does not replace this $"),
        ('["pip", "install", "a==$A"]', "a==$A is not run: a shell does not replace this $"),
        ("B='$A'; pip install a==$B", "pip install a==$A is not run: a shell does not replace"),
        ("pip install a==$$A", "pip install a==$$A is not run: a shell computes it"),
        ('pip install "a==$$"', "pip install a==$$ is not run: a shell computes it"),
        ("pip install a==${A%x}", "pip install a==${A%x} is not run: a shell computes it"),
        ('pip install "a==${B}"', "pip install a==${B} is not run: the value of B is not known"),
    ],
)
def test_variable_that_a_shell_does_not_replace_by_a_known_value_is_reported(
    tmp_path: Path, line: str, reason: str
) -> None:
    found = read_build_lines(lines(("ARG", "A=3"), ("RUN", line)), tmp_path)
    assert found.requirements == []
    assert len(found.not_run) == 1
    assert reason in found.not_run[0]


@pytest.mark.parametrize(
    ("value", "variables"),
    [
        ("B='$A'", {"B": "$A"}),
        (r"B=\$A", {"B": "$A"}),
        (r'B="\$A is $A"', {"B": "$A is 3"}),
        ('B="it\'s $A"', {"B": "it's 3"}),
        ("B=${A:+4}", {"B": "4"}),
        ("B=price$ C=$(x)", {"B": "price$", "C": "$(x)"}),  # an image runs no commands here
        ("B=a # C=b", {"B": "a", "C": "b"}),  # and knows no comments at the end of a line
        ("B '$A'", {"B": "'$A'"}),
    ],
)
def test_quotes_of_an_env_line_decide_which_variables_are_replaced(
    tmp_path: Path, value: str, variables: dict[str, str]
) -> None:
    found = read_build_lines(lines(("ARG", "A=3"), ("ENV", value)), tmp_path)
    assert (dict(found.variables), found.not_run) == (variables, [])


@pytest.mark.parametrize("value", ["B=$$", "B=$$A", "B=${A%x}", "B=$1"])
def test_env_line_that_an_image_computes_is_reported(tmp_path: Path, value: str) -> None:
    found = read_build_lines(lines(("ARG", "A=3"), ("ENV", value)), tmp_path)
    assert found.variables == []
    assert found.not_run == [f"ENV {value} is not set: a shell computes it, write it in spec.env"]


def test_variable_of_one_run_line_is_unknown_in_the_next(tmp_path: Path) -> None:
    found = read_build_lines(directives("export A=3", "pip install a==$A"), tmp_path)
    assert found.requirements == []
    assert "the value of A is not known" in found.not_run[0]


def test_arguments_of_the_build_are_no_variables_of_the_workers(tmp_path: Path) -> None:
    build = lines(("ARG", "SIZE=640"), ("ENV", "SIDE=${SIZE}"), ("ARG", "NO_DEFAULT"))
    found = read_build_lines(build, tmp_path)
    assert (found.variables, found.not_run) == ([("SIDE", "640")], [])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("$A:/opt/x",), ":/opt/x"),
        (("/one", "$A:/two", "/three:${A}"), "/three:/one:/two"),
        (("${A:-/default}:/opt/x",), "/default:/opt/x"),
    ],
)
def test_variable_that_extends_itself_is_empty_before_its_first_line(
    tmp_path: Path, values: tuple[str, ...], expected: str
) -> None:
    found = read_build_lines(lines(*(("ENV", f"A={value}") for value in values)), tmp_path)
    assert (dict(found.variables), found.not_run) == ({"A": expected}, [])


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (directives("apt-get install -y ffmpeg git"), "install ffmpeg on the runtime's machine"),
        (directives("git clone https://x/y.git /opt/y"), "write a requirement git+URL"),
        (directives("curl -LO https://x/best.onnx"), "declare the file in x-cvat-lambda.weights"),
        (directives("wget https://x/best.onnx"), "declare the file in x-cvat-lambda.weights"),
        (directives("conda install -y numpy"), "name the packages in requirements.txt"),
        (directives("python setup.py develop"), "put its result into the folder"),
        (directives("pip install -r gone.txt"), "the folder has no gone.txt"),
        (directives("pip install ./gone"), "the folder has no gone"),
        (directives("pip install $PACKAGE"), "the value of PACKAGE is not known"),
        (directives("pip install -r $FILE"), "-r $FILE is not run: the value of FILE is not known"),
        (directives('pip install "a==$(cat version)"'), "a shell computes it"),
        (directives("PIP_INDEX_URL=$X", kind="ARG"), "PIP_INDEX_URL=$X is not set: the value of X"),
        (directives("A=$B:/x", kind="ENV"), "ENV A=$B:/x is not set: the value of B is not known"),
        (directives("pip install -e detectron2"), "the folder has no detectron2"),
        (directives("cd /opt/x && pip install ."), "the folder has no pyproject.toml or setup.py"),
        (directives("uv sync"), "name the packages in requirements.txt"),
        (directives("poetry install"), "name the packages in requirements.txt"),
        (directives("model.pt /opt/", kind="COPY"), "COPY model.pt /opt/ is not run"),
        ({"baseImage": "somebody/special:1"}, "baseImage somebody/special:1 is not used"),
    ],
)
def test_unsupported_line_is_reported_with_a_replacement(
    tmp_path: Path, build: dict[str, Any], sentence: str
) -> None:
    found = read_build_lines(build, tmp_path)
    assert found.requirements == []
    assert len(found.not_run) == 1
    assert sentence in found.not_run[0]


@pytest.mark.parametrize(
    ("image", "packages"),
    [
        ("ultralytics/ultralytics:latest-cpu", ["ultralytics"]),
        ("pytorch/pytorch:2.1.0-cuda11.8-cudnn8-runtime", ["torch", "torchvision"]),
        ("nvcr.io/nvidia/pytorch:24.01-py3", ["torch", "torchvision"]),
        ("openvino/ubuntu22_runtime:2023.1", ["openvino"]),
        ("tensorflow/tensorflow:2.15.0", ["tensorflow"]),
        ("python:3.9-slim", []),
        ("ubuntu:22.04", []),
        ("nvidia/cuda:11.8.0-runtime-ubuntu22.04", []),
        ("", []),
    ],
)
def test_known_base_image_adds_the_packages_of_its_framework(
    tmp_path: Path, image: str, packages: list[str]
) -> None:
    found = read_build_lines({"baseImage": image}, tmp_path)
    assert (found.requirements, found.not_run) == (packages, [])


def test_copy_of_the_folders_own_files_to_opt_nuclio_is_not_reported(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("")
    lines = ("requirements.txt /opt/nuclio/requirements.txt", ". /opt/nuclio")
    assert read_build_lines(directives(*lines, kind="COPY"), tmp_path).not_run == []


def test_env_lines_become_variables_that_spec_env_overrides(tmp_path: Path) -> None:
    build = directives(
        "MODEL=a SIZE=640", "OLD form of it", "PIP_EXTRA_INDEX_URL=https://x/", kind="ENV"
    )
    spec = {"handler": "main:handler", "build": build, "env": [{"name": "SIZE", "value": "320"}]}
    config = parse_function({"metadata": {"name": "one"}, "spec": spec}, tmp_path)
    assert dict(config.env) == {"MODEL": "a", "SIZE": "320", "OLD": "form of it"}
    assert config.build.requirements == ["--extra-index-url https://x/"]


@pytest.mark.parametrize(
    "build", [{"commands": "x"}, {"directives": []}, {"directives": {"preCopy": ["x"]}}]
)
def test_build_of_a_wrong_type_raises_an_error_with_its_field(
    tmp_path: Path, build: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"spec\.build\."):
        read_build_lines(build, tmp_path)


@pytest.mark.parametrize("value", ["[]", "[" * 50_000, "bash -c []"])
def test_run_line_without_a_command_installs_nothing(tmp_path: Path, value: str) -> None:
    assert read_build_lines(directives(value), tmp_path).requirements == []


def test_lint_reports_lines_that_are_not_run(tmp_path: Path) -> None:
    spec = {"handler": "main:handler", "build": directives("apt-get install -y ffmpeg")}
    config = parse_function({"metadata": {"name": "one"}, "spec": spec}, tmp_path)
    texts = [finding.text for finding in lint(config) if not finding.severe]
    assert any("apt-get install -y ffmpeg is not run: install ffmpeg" in text for text in texts)
