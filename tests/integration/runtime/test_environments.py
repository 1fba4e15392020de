"""Environments are built from requirements.txt and shared. Failed builds have readable errors."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

from cvat_lambda.runtime.environments.build import EnvironmentBuilder, read_requirements
from cvat_lambda.runtime.environments.installer import find_uv, install_options, uv_variables
from cvat_lambda.runtime.environments.local_packages import local_packages
from cvat_lambda.runtime.errors import NotPrepared
from tests.http_server import files_of, http_server


def write_wheel(folder: Path, name: str, version: str, code: str = "") -> Path:
    """Write a wheel of one module and return its path."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", code)
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A package that the test writes, so that its content is known."""
    return write_wheel(tmp_path / "wheels", "cvl_probe", "1.0", "VALUE = 42\n")


@pytest.fixture
def builder(tmp_path: Path) -> EnvironmentBuilder:
    return EnvironmentBuilder(tmp_path / "environments")


def folder_with(tmp_path: Path, name: str, requirements: str) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "requirements.txt").write_text(requirements)
    return folder


def test_equal_requirements_share_one_environment_even_when_built_concurrently(
    tmp_path: Path, wheel: Path, builder: EnvironmentBuilder
) -> None:
    told: list[str] = []
    folders = [
        folder_with(tmp_path, "one", f"{wheel}\n"),
        folder_with(tmp_path, "two", f"# the same needs\n\n{wheel}  # of our own\n"),
    ]
    with ThreadPoolExecutor(2) as pool:
        made = pool.map(lambda folder: builder.prepare(folder, None, told.append), folders)
        found = [environment.interpreter for environment in made]
    assert found[0] == found[1]
    assert sum(text.startswith("building a Python environment") for text in told) == 1
    code = "import cvl_probe, msgpack, nuclio_sdk; print(cvl_probe.VALUE)"
    done = subprocess.run([str(found[0]), "-c", code], capture_output=True, text=True)
    assert done.stdout == "42\n", done.stderr
    without_django = subprocess.run([str(found[0]), "-c", "import django"], capture_output=True)
    assert without_django.returncode == 1


def test_interpreters_of_two_checkouts_share_environments(
    tmp_path: Path, wheel: Path, builder: EnvironmentBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each checkout has a virtual environment whose Python is a link to the machine's Python."""
    folder = folder_with(tmp_path, "one", f"{wheel}\n")
    first = builder.prepare(folder, None, print).interpreter
    assert first.resolve() == Path(sys.executable).resolve()  # not a link to this environment
    command = [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "other")]
    subprocess.run(command, check=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "other" / "bin" / "python"))
    told: list[str] = []
    assert builder.prepare(folder, None, told.append).interpreter == first
    assert told == []


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1"])
def test_requirements_are_read_in_the_encodings_of_pip(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "requirements.txt"
    file.write_bytes("numpy>=1  # größer\n".encode(encoding))
    assert read_requirements(file) == ["numpy>=1"]


def test_change_of_an_included_requirements_file_changes_the_environment(
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
    """Write a version of a function whose folder contains a package."""
    folder = folder_with(tmp_path, version, requirements)
    package = folder / "own"
    package.mkdir()
    (package / "pyproject.toml").write_text(PROJECT)
    (package / "backend.py").write_text(BACKEND)
    (package / "cvl_own.py").write_text(source)
    return folder


@pytest.mark.parametrize("line", ["./own", "-e ./own"])
def test_changed_local_package_is_installed_again(
    tmp_path: Path, builder: EnvironmentBuilder, line: str
) -> None:
    for version, value in (("one", 1), ("two", 2)):
        folder = folder_with_package(tmp_path, version, f"{line}\n", f"VALUE = {value}\n")
        python = builder.prepare(folder, None, lambda text: None).interpreter
        code = "import cvl_own; print(cvl_own.VALUE)"
        done = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
        assert done.stdout == f"{value}\n", done.stderr


@pytest.mark.parametrize(("line", "is_shared"), [("./own", True), ("-e ./own", False)])
def test_editable_local_package_is_not_shared(
    tmp_path: Path, builder: EnvironmentBuilder, line: str, is_shared: bool
) -> None:
    """The folder of a replaced version is deleted, so the package would be missing."""
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
def test_changed_content_of_a_wheel_in_the_folder_changes_the_environment(
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


def test_requirement_is_a_package_even_if_a_folder_has_its_name(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "one", "")
    (folder / "numpy").mkdir()
    assert local_packages(["numpy", "numpy>=1", "--no-index", "-r more.txt"], folder) == []


def test_gpu_requirements_are_used_on_a_gpu_if_they_exist(
    tmp_path: Path, wheel: Path, builder: EnvironmentBuilder
) -> None:
    def probe(folder: Path, *, gpu: bool) -> tuple[Path, int]:
        python = builder.prepare(folder, None, lambda text: None, gpu=gpu).interpreter
        return python, subprocess.run([str(python), "-c", "import cvl_probe"]).returncode

    folder = folder_with(tmp_path, "one", "")
    without, status = probe(folder, gpu=True)  # requirements-gpu.txt does not exist
    assert (probe(folder, gpu=False), status) == ((without, 1), 1)
    (folder / "requirements-gpu.txt").write_text(f"{wheel}\n")
    with_its_own, status = probe(folder, gpu=True)
    assert (with_its_own != without, status) == (True, 0)
    assert probe(folder, gpu=False) == (without, 1)


def test_requirement_that_cannot_be_installed_is_named_and_the_build_is_repeated(
    tmp_path: Path, wheel: Path, builder: EnvironmentBuilder
) -> None:
    missing = tmp_path / "wheels" / "cvl_missing-1.0-py3-none-any.whl"
    folder = folder_with(tmp_path, "one", f"{missing}\n")
    with pytest.raises(NotPrepared, match=r"its Python environment cannot be built: .*cvl_missing"):
        builder.prepare(folder, None, lambda text: None)
    folder.joinpath("requirements.txt").write_text(f"{wheel}\n")
    assert builder.prepare(folder, None, lambda text: None).interpreter.exists()


def stand_in_for_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, script: str) -> None:
    """Put a stand-in for uv on the PATH."""
    uv = tmp_path / "tools" / "uv"
    uv.parent.mkdir()
    uv.write_text(f"#!/bin/sh\n{script}")
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{uv.parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Path]:
    """A package mirror with all packages of a function. None of them is published elsewhere.

    ``mirror / "simple"`` is a package index. The file ``mirror / "url"`` has its URL.
    """
    root = tmp_path / "mirror"
    for name, version in (("cvl_probe", "1.0"), ("nuclio_sdk", "999.1"), ("msgpack", "999.1")):
        path = write_wheel(root / "wheels", name, version, "VALUE = 42\n")
        page = root / "simple" / name.replace("_", "-")
        page.mkdir(parents=True)
        shutil.copy(path, page)
    with http_server(files_of(root)) as server:
        (root / "url").write_text(f"{server.url}/simple/")
        yield root


@pytest.fixture
def without_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove all settings of pip and uv, so that only those of the test apply."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "shared"))
    monkeypatch.setenv("CVAT_LAMBDA_CACHE", str(tmp_path / "cache"))


MIRRORS = {
    "PIP_INDEX_URL": {"PIP_INDEX_URL": "{url}"},
    "PIP_EXTRA_INDEX_URL": {"PIP_INDEX_URL": "{empty}", "PIP_EXTRA_INDEX_URL": "{url}"},
    "PIP_FIND_LINKS": {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "{folder}"},
    "a folder that is missing": {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "{empty} {folder}"},
    "a variable of uv first": {"PIP_INDEX_URL": "{empty}", "UV_DEFAULT_INDEX": "{url}"},
}


@pytest.mark.usefixtures("without_settings")
@pytest.mark.parametrize("variables", MIRRORS.values(), ids=MIRRORS)
def test_environment_is_built_from_the_mirror_that_a_variable_names(
    tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    words = {
        "url": (mirror / "url").read_text(),
        "folder": str(mirror / "wheels"),
        "empty": f"file://{tmp_path}/nothing",
    }
    for name, text in variables.items():
        monkeypatch.setenv(name, text.format(**words))
    assert installed_probe(tmp_path) == "42 999.1\n"


@pytest.mark.usefixtures("without_settings")
@pytest.mark.parametrize(
    ("place", "section"),
    [
        ("configuration/pip/pip.conf", "global"),
        ("shared/pip/pip.conf", "global"),
        ("configuration/pip/pip.conf", "install"),
        ("chosen.conf", "global"),
    ],
)
def test_environment_is_built_from_the_mirror_that_a_file_of_pip_names(
    tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch, place: str, section: str
) -> None:
    file = tmp_path / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"[{section}]\nindex_url = {(mirror / 'url').read_text()}\n")
    if file.parent == tmp_path:
        monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    assert installed_probe(tmp_path) == "42 999.1\n"


def installed_probe(tmp_path: Path) -> str:
    """Build an environment with ``cvl-probe``; return its value and the version of msgpack."""
    folder = folder_with(tmp_path, "one", "cvl-probe\n")
    python = EnvironmentBuilder(tmp_path / "environments").prepare(folder, None, print).interpreter
    code = "import cvl_probe, importlib.metadata as m; print(cvl_probe.VALUE, m.version('msgpack'))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.usefixtures("without_settings")
def test_fingerprint_of_an_environment_changes_with_a_newer_package_alone(
    tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(mirror / "wheels"))
    folder = folder_with(tmp_path, "one", "cvl-probe\n")
    builders = [EnvironmentBuilder(tmp_path / name) for name in ("a", "b", "c")]
    first, same = (builder.prepare(folder, None, print).fingerprint for builder in builders[:2])
    write_wheel(mirror / "wheels", "cvl_probe", "1.1")
    newer = builders[2].prepare(folder, None, print).fingerprint
    assert (first == same, first != newer) == (True, True)


@pytest.mark.usefixtures("without_settings")
def test_variables_of_pip_override_its_files_and_later_files_override_earlier_ones(
    tmp_path: Path,
) -> None:
    for place, text in (
        ("shared", "[global]\nindex-url = https://a/\ntimeout = 9\nclient-cert = /one\n"),
        ("configuration", "[global]\nindex-url = https://b/\nfind-links =\n  https://x/\n  /\n"),
    ):
        file = tmp_path / place / "pip" / "pip.conf"
        file.parent.mkdir(parents=True)
        file.write_text(text)
    environ = {**os.environ, "PIP_CLIENT_CERT": "/two", "PIP_PRE": "0", "PIP_NO_INDEX": "yes"}
    found = uv_variables(environ)
    expected = {
        "UV_DEFAULT_INDEX": "https://b/",
        "UV_HTTP_TIMEOUT": "9",
        "SSL_CLIENT_CERT": "/two",
        "UV_FIND_LINKS": "https://x/,/",
    }
    assert {name: found.get(name) for name in expected} == expected
    assert "UV_PRERELEASE" not in found
    assert install_options(environ) == ["--no-index"]


@pytest.mark.parametrize("compile_all", [False, True])
def test_all_modules_are_compiled_to_bytecode_if_the_setting_says_so(
    tmp_path: Path, wheel: Path, compile_all: bool
) -> None:
    builder = EnvironmentBuilder(tmp_path / "environments", compile_all=compile_all)
    python = builder.prepare(folder_with(tmp_path, "one", f"{wheel}\n"), None, print).interpreter
    assert bool(list(python.parent.parent.rglob("cvl_probe.*.pyc"))) is compile_all


def test_missing_uv_is_reported_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, builder: EnvironmentBuilder
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "uv", None)  # as without the package
    with pytest.raises(NotPrepared, match="run pip install uv"):
        builder.prepare(folder_with(tmp_path, "one", ""), None, print)


def test_functions_that_are_deployed_at_once_do_not_ask_the_package_uv_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inside, second = threading.Lock(), threading.Event()

    def find_uv_bin() -> str:
        if not inside.acquire(blocking=False):
            second.set()
            return ""
        second.wait(0.3)  # time for another thread, if it is let in
        inside.release()
        return "/uv"

    package = ModuleType("uv")
    package.find_uv_bin = find_uv_bin  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uv", package)
    monkeypatch.setenv("PATH", "")
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: find_uv(), range(2))) == ["/uv", "/uv"]


def test_package_that_uv_does_not_find_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        'echo "error: No solution found when resolving dependencies"\n'
        'echo "  cause: Because cvl-missing was not found in the package registry"\n'
        "exit 1\n"
    )
    stand_in_for_uv(tmp_path, monkeypatch, script=script)
    builder = EnvironmentBuilder(tmp_path / "environments")
    with pytest.raises(NotPrepared, match="cause: Because cvl-missing was not found"):
        builder.prepare(folder_with(tmp_path, "one", "cvl-missing\n"), None, lambda text: None)


@pytest.mark.usefixtures("without_settings")
def test_package_without_a_wheel_for_this_python_is_named_with_the_reason(
    tmp_path: Path, mirror: Path, builder: EnvironmentBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(mirror / "wheels"))
    wheel = write_wheel(mirror / "wheels", "cvl_old", "1.0")
    wheel.rename(wheel.with_name("cvl_old-1.0-cp27-cp27m-manylinux1_x86_64.whl"))
    folder = folder_with(tmp_path, "one", "cvl-probe\ncvl-old==1.0\n")
    with pytest.raises(NotPrepared, match=r"cvl-old==1\.0 has no wheels with a matching Python"):
        builder.prepare(folder, None, lambda text: None)


def test_missing_python_version_is_reported_and_replaced_by_that_of_the_runtime(
    tmp_path: Path, builder: EnvironmentBuilder
) -> None:
    from cvat_lambda.runtime.environments.build import find_interpreter

    told: list[str] = []
    interpreter = find_interpreter("3.99", told.append)
    assert Path(interpreter).exists()
    assert told[0].startswith("Python 3.99 is not on this machine")


def test_python_that_does_not_run_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyenv puts a shim for every version on the PATH. Most of them exit with status 127."""
    from cvat_lambda.runtime.environments.build import find_interpreter

    shim = tmp_path / "python3.99"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    told: list[str] = []
    assert find_interpreter("3.99", told.append) == sys.executable
    assert told[0].startswith("Python 3.99 is not on this machine")
