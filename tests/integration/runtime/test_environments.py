"""Environments are built from requirements.txt, shared, and their failures can be read."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cvat_lambda.runtime.environments.build import EnvironmentBuilder, read_requirements
from cvat_lambda.runtime.environments.local_packages import local_packages
from cvat_lambda.runtime.errors import NotPrepared


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A package of our own, so that the test knows what is installed."""
    path = tmp_path / "wheels" / "cvl_probe-1.0-py3-none-any.whl"
    path.parent.mkdir()
    info = "cvl_probe-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cvl_probe.py", "VALUE = 42\n")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: cvl-probe\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def builder(tmp_path: Path) -> EnvironmentBuilder:
    return EnvironmentBuilder(tmp_path / "environments", installer="pip")


def folder_with(tmp_path: Path, name: str, requirements: str) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "requirements.txt").write_text(requirements)
    return folder


def test_equal_needs_share_one_environment_built_once_even_at_once(
    tmp_path: Path, wheel: Path, builder: EnvironmentBuilder
) -> None:
    told: list[str] = []
    folders = [
        folder_with(tmp_path, "one", f"{wheel}\n"),
        folder_with(tmp_path, "two", f"# the same needs\n\n{wheel}  # of our own\n"),
    ]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda folder: builder.prepare(folder, None, told.append), folders))
    assert found[0] == found[1]
    assert sum(text.startswith("building a Python environment") for text in told) == 1
    code = "import cvl_probe, msgpack, nuclio_sdk; print(cvl_probe.VALUE)"
    done = subprocess.run([str(found[0]), "-c", code], capture_output=True, text=True)
    assert done.stdout == "42\n", done.stderr
    without_django = subprocess.run([str(found[0]), "-c", "import django"], capture_output=True)
    assert without_django.returncode == 1


def test_the_interpreters_of_two_checkouts_share_what_was_built(
    tmp_path: Path, wheel: Path, builder: EnvironmentBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a virtual environment of its own, whose Python is a link to the machine's."""
    folder = folder_with(tmp_path, "one", f"{wheel}\n")
    first = builder.prepare(folder, None, print)
    assert first.resolve() == Path(sys.executable).resolve()  # not a link to our environment
    command = [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "other")]
    subprocess.run(command, check=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "other" / "bin" / "python"))
    told: list[str] = []
    assert builder.prepare(folder, None, told.append) == first
    assert told == []


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1"])
def test_needs_are_read_in_the_encodings_that_pip_reads(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "requirements.txt"
    file.write_bytes("numpy>=1  # größer\n".encode(encoding))
    assert read_requirements(file) == ["numpy>=1"]


def test_needs_that_are_included_from_another_file_count(
    tmp_path: Path, builder: EnvironmentBuilder
) -> None:
    from cvat_lambda.runtime.environments.build import read_requirements

    file = folder_with(tmp_path, "one", "-r more.txt\n") / "requirements.txt"
    (file.parent / "more.txt").write_text("numpy\n")
    before = read_requirements(file)
    (file.parent / "more.txt").write_text("numpy==2\n")
    assert (before, read_requirements(file)) == (
        ["-r more.txt", "numpy"],
        ["-r more.txt", "numpy==2"],
    )


PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = """
import base64, pathlib, zipfile
INFO = "cvl_own-1.0.dist-info"
def build(target, name, text):
    wheel = "cvl_own-1.0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(target, wheel), "w") as archive:
        archive.writestr(name, text)
        about = "Metadata-Version: 2.1\\nName: cvl-own\\nVersion: 1.0\\n"
        archive.writestr(INFO + "/METADATA", about)
        tags = "Root-Is-Purelib: true\\nTag: py3-none-any\\n"
        archive.writestr(INFO + "/WHEEL", "Wheel-Version: 1.0\\n" + tags)
        archive.writestr(INFO + "/RECORD", "")
    return wheel
def build_wheel(target, config_settings=None, metadata_directory=None):
    return build(target, "cvl_own.py", pathlib.Path("cvl_own.py").read_text())
def build_editable(target, config_settings=None, metadata_directory=None):
    return build(target, "cvl_own.pth", str(pathlib.Path().resolve()))
"""


def folder_with_package(tmp_path: Path, version: str, requirements: str, source: str) -> Path:
    """A version of a function whose folder holds a package of its own."""
    folder = folder_with(tmp_path, version, requirements)
    package = folder / "own"
    package.mkdir()
    (package / "pyproject.toml").write_text(PROJECT)
    (package / "backend.py").write_text(BACKEND)
    (package / "cvl_own.py").write_text(source)
    return folder


@pytest.mark.parametrize("line", ["./own", "-e ./own"])
def test_a_package_in_the_folder_is_installed_anew_when_it_has_changed(
    tmp_path: Path, builder: EnvironmentBuilder, line: str
) -> None:
    for version, value in (("one", 1), ("two", 2)):
        folder = folder_with_package(tmp_path, version, f"{line}\n", f"VALUE = {value}\n")
        python = builder.prepare(folder, None, lambda text: None)
        code = "import cvl_own; print(cvl_own.VALUE)"
        done = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
        assert done.stdout == f"{value}\n", done.stderr


@pytest.mark.parametrize(("line", "is_shared"), [("./own", True), ("-e ./own", False)])
def test_versions_share_what_is_copied_into_an_environment_not_what_is_linked(
    tmp_path: Path, builder: EnvironmentBuilder, line: str, is_shared: bool
) -> None:
    """The folder of a version that is replaced is deleted."""
    one, two = (
        builder.prepare(
            folder_with_package(tmp_path, version, f"{line}\n", "VALUE = 1\n"), None, print
        )
        for version in ("one", "two")
    )
    assert (one == two) is is_shared


@pytest.mark.parametrize(
    "line",
    [
        "./{name} ; python_version > '3'",
        "{name}",
        "cvl-probe[more] @ file://{folder}/{name}",
        "-f .\ncvl-probe",
    ],
)
def test_a_wheel_in_the_folder_counts_by_its_content(
    tmp_path: Path, wheel: Path, line: str
) -> None:
    folder = folder_with(tmp_path, "one", "")
    needs = [line.format(name=wheel.name, folder=folder)]
    (folder / wheel.name).write_bytes(wheel.read_bytes())
    before = local_packages(needs, folder)
    assert len(before) == 1
    assert local_packages(needs, folder) == before
    (folder / wheel.name).write_bytes(b"another")
    assert local_packages(needs, folder) != before


def test_a_need_is_a_package_though_a_folder_has_its_name(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "one", "")
    (folder / "numpy").mkdir()
    assert local_packages(["numpy", "numpy>=1", "--no-index", "-r more.txt"], folder) == []


def test_on_a_gpu_the_needs_are_those_of_its_own_file_where_there_is_one(
    tmp_path: Path, wheel: Path, builder: EnvironmentBuilder
) -> None:
    def probe(folder: Path, *, gpu: bool) -> tuple[Path, int]:
        python = builder.prepare(folder, None, lambda text: None, gpu=gpu)
        return python, subprocess.run([str(python), "-c", "import cvl_probe"]).returncode

    folder = folder_with(tmp_path, "one", "")
    without, status = probe(folder, gpu=True)  # there is no requirements-gpu.txt
    assert (probe(folder, gpu=False), status) == ((without, 1), 1)
    (folder / "requirements-gpu.txt").write_text(f"{wheel}\n")
    with_its_own, status = probe(folder, gpu=True)
    assert (with_its_own != without, status) == (True, 0)
    assert probe(folder, gpu=False) == (without, 1)


def test_a_need_that_cannot_be_met_is_named_and_what_was_begun_is_built_anew(
    tmp_path: Path, wheel: Path, builder: EnvironmentBuilder
) -> None:
    missing = tmp_path / "wheels" / "cvl_missing-1.0-py3-none-any.whl"
    folder = folder_with(tmp_path, "one", f"{missing}\n")
    with pytest.raises(NotPrepared, match=r"its Python environment cannot be built: .*cvl_missing"):
        builder.prepare(folder, None, lambda text: None)
    folder.joinpath("requirements.txt").write_text(f"{wheel}\n")
    assert builder.prepare(folder, None, lambda text: None).exists()


def stand_in_for_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, script: str) -> None:
    """Put a uv of our own on the PATH."""
    uv = tmp_path / "tools" / "uv"
    uv.parent.mkdir()
    uv.write_text(f"#!/bin/sh\n{script}")
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{uv.parent}{os.pathsep}{os.environ['PATH']}")


def test_uv_makes_the_environment_where_it_is_wanted(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = tmp_path / "notes"
    # It notes what it is asked, and has pip do it.
    script = (
        f'echo "$@" >> {notes}\n'
        '[ "$1" != venv ] || exec "$4" -m venv --without-pip "$5"\n'
        "python=$4\nshift 4\n"
        f'exec {sys.executable} -m pip --python "$python" install --quiet "$@"\n'
    )
    stand_in_for_uv(tmp_path, monkeypatch, script=script)
    builder = EnvironmentBuilder(tmp_path / "environments", installer="uv")
    folder = folder_with(tmp_path, "one", f"{wheel}\n")
    python = builder.prepare(folder, None, lambda text: None)
    code = "import cvl_probe, msgpack, nuclio_sdk; print(cvl_probe.VALUE)"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
    assert done.stdout == "42\n", done.stderr
    made, installed = notes.read_text().splitlines()
    assert made == f"venv --quiet --python {sys.executable} {python.parent.parent}"
    assert installed == (
        f"pip install --python {python} nuclio-sdk>=0.5.13 msgpack>=1.0 "
        f"-r {folder / 'requirements.txt'}"
    )


@pytest.mark.parametrize("variable", ["PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"])
def test_pip_installs_where_a_variable_of_pip_says_where_packages_are(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Also where we have no pip to ask for its settings: uv would look past the variable."""
    stand_in_for_uv(tmp_path, monkeypatch, script="echo error: it is uv that was asked\nexit 1\n")
    command = [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "other")]
    subprocess.run(command, check=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "other" / "bin" / "python"))
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, f"file://{wheel.parent}")
    missing = folder_with(tmp_path, "one", "./cvl_missing.whl\n")  # it ends before it downloads
    with pytest.raises(NotPrepared, match="cvl_missing"):
        EnvironmentBuilder(tmp_path / "environments").prepare(missing, None, lambda text: None)


def test_what_uv_could_not_find_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        'echo "error: No solution found when resolving dependencies"\n'
        'echo "  cause: Because cvl-missing was not found in the package registry"\n'
        "exit 1\n"
    )
    stand_in_for_uv(tmp_path, monkeypatch, script=script)
    builder = EnvironmentBuilder(tmp_path / "environments", installer="uv")
    with pytest.raises(NotPrepared, match="cause: Because cvl-missing was not found"):
        builder.prepare(folder_with(tmp_path, "one", "cvl-missing\n"), None, lambda text: None)


def test_a_python_that_is_not_there_is_told_and_ours_is_taken(
    tmp_path: Path, builder: EnvironmentBuilder
) -> None:
    from cvat_lambda.runtime.environments.build import find_interpreter

    told: list[str] = []
    interpreter = find_interpreter("3.99", told.append)
    assert Path(interpreter).exists()
    assert told[0].startswith("Python 3.99 is not on this machine")


def test_a_python_that_does_not_run_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pyenv shim lies on the PATH for every version, and ends with 127 for most."""
    from cvat_lambda.runtime.environments.build import find_interpreter

    shim = tmp_path / "python3.99"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    told: list[str] = []
    assert find_interpreter("3.99", told.append) == sys.executable
    assert told[0].startswith("Python 3.99 is not on this machine")
