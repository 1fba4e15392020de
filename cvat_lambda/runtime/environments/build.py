"""Python environments of functions. Functions with equal requirements share one."""

from __future__ import annotations

import codecs
import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cvat_lambda.runtime.environments.installer import find_uv, install_options, uv_variables
from cvat_lambda.runtime.environments.local_packages import local_packages
from cvat_lambda.runtime.errors import NotPrepared
from cvat_lambda.runtime.paths import digest, locked
from cvat_lambda.runtime.processes.subprocesses import run_child

REQUIREMENTS: Final = "requirements.txt"
GPU_REQUIREMENTS: Final = "requirements-gpu.txt"
WORKER_REQUIREMENTS: Final = ("nuclio-sdk>=0.5.13", "msgpack>=1.0")
_FORMAT: Final = "1"  # a new value makes all environments be built again
_COMPLETE: Final = ".complete"
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_INCLUDED: Final = re.compile(r"^\s*(?:-r|-c|--requirement|--constraint)[\s=]+(\S+)", re.MULTILINE)

Progress = Callable[[str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A Python environment that is complete."""

    interpreter: Path
    fingerprint: str  # of Python's version and all installed packages with their versions


class EnvironmentBuilder:
    """Builds environments below one folder. Several processes may do so at once."""

    def __init__(self, root: Path, *, compile_all: bool = False) -> None:
        self._root = root
        self._compile = compile_all  # compile all modules to bytecode after the installation

    def prepare(
        self,
        folder: Path,
        python: str | None,
        progress: Progress,
        *,
        gpu: bool = False,
        fallback: Sequence[str] = (),
    ) -> Environment:
        """Return the environment of a function folder; build it if there is none.

        With `gpu`, requirements-gpu.txt is used if the folder has one. `fallback` has the lines of
        a requirements file for a folder without one. Raise NotPrepared with the installer's
        message if the environment cannot be built.
        """
        base = find_interpreter(python, progress)
        wanted = list(WORKER_REQUIREMENTS)
        file = requirements_file(folder, gpu=gpu)
        if not file.exists() and fallback:
            file = self._write_requirements(folder, fallback)
        if file.exists():
            wanted += ["-r", str(file)]
        needs = read_requirements(file)
        own = local_packages(needs, folder)
        key = digest(_FORMAT, *WORKER_REQUIREMENTS, *_identity(base), *needs, *own)
        home = self._ensure(key[:24], base, wanted, folder, progress)
        packages = sorted(path.name for path in home.glob("lib/python*/site-packages/*.dist-info"))
        return Environment(
            interpreter=home / "bin" / "python", fingerprint=digest(_tag(base), *packages, *own)
        )

    def _write_requirements(self, folder: Path, lines: Sequence[str]) -> Path:
        """Write a requirements file for a folder; paths of files that it includes are absolute."""
        text = "".join(
            f"{line[:3]}{folder / line[3:]}\n" if line.startswith(("-r ", "-c ")) else f"{line}\n"
            for line in lines
        )
        file = self._root / "requirements" / f"{digest(text)[:24]}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        # Renamed when it is whole: functions with the same lines may be prepared at once.
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=file.parent) as partial:
            partial.write(text)
            partial.flush()
            with contextlib.suppress(FileExistsError):
                os.link(partial.name, file)
        return file

    def tool(self, package: str, command: str, progress: Progress) -> Path:
        """Install a package in its own environment and return the path of its command."""
        key = digest(_FORMAT, "tool", package, *_identity(sys.executable))[:24]
        home = self._ensure(key, sys.executable, [package], self._root, progress)
        return home / "bin" / command

    def pip(self, progress: Progress) -> list[str]:
        """Return the command that runs pip. The environment of the runtime need not have it."""
        if importlib.util.find_spec("pip") is not None:
            return [sys.executable, "-m", "pip"]
        return [str(self.tool("pip", "pip", progress))]

    def _ensure(
        self, key: str, base: str, wanted: list[str], folder: Path, progress: Progress
    ) -> Path:
        home = self._root / key
        # The marker file is written last: without it, a build was interrupted. An
        # environment cannot be built elsewhere and renamed, because its scripts contain its path.
        if (home / _COMPLETE).exists():
            return home
        with locked(self._root / f"{key}.lock"):
            if not (home / _COMPLETE).exists():
                shutil.rmtree(home, ignore_errors=True)
                progress(f"building a Python environment in {home}")
                self._build(home, base, wanted, folder, progress)
                (home / _COMPLETE).touch()
                progress("the Python environment is ready")
        return home

    def _build(
        self, home: Path, base: str, wanted: list[str], folder: Path, progress: Progress
    ) -> None:
        uv = find_uv()
        _run([uv, "venv", "--quiet", "--no-project", "--python", base, str(home)], folder, progress)
        command = [uv, "pip", "install", *install_options()]
        command += ["--python", str(home / "bin" / "python"), *wanted]
        # Without it, workers compile the modules that they import, and store the bytecode here.
        _run([*command, "--compile-bytecode"] if self._compile else command, folder, progress)


_PROGRESS: Final = ("Resolved", "Downloading", "Building", "Prepared", "Installed", "error")


def find_interpreter(python: str | None, progress: Progress) -> str:
    """Return an interpreter of a version such as "3.11", or the runtime's own if there is none."""
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if python is None or python == own:
        return sys.executable
    found = shutil.which(f"python{python}")
    if found is not None and _makes_environments(found):
        return found
    progress(f"Python {python} is not on this machine: the function runs on Python {own}")
    return sys.executable


def _makes_environments(interpreter: str) -> bool:
    """Return whether it runs. A pyenv shim of a version that is not selected does not run."""
    try:
        tried = subprocess.run([interpreter, "-c", "import venv"], capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return tried.returncode == 0


def requirements_file(folder: Path, *, gpu: bool) -> Path:
    """Return the path of a function's requirements file, which may not exist."""
    variant = folder / GPU_REQUIREMENTS
    return variant if gpu and variant.exists() else folder / REQUIREMENTS


def read_requirements(file: Path) -> list[str]:
    """Return the text of a requirements file and of the files that it includes, in order."""
    texts: list[str] = []
    todo, seen = [file], set()
    while todo:
        file = todo.pop(0)
        if file in seen or not file.exists():
            continue
        seen.add(file)
        text = _decoded(file.read_bytes())
        texts.append(_without_comments(text))
        todo += [file.parent / name for name in _INCLUDED.findall(text)]
    return texts


def _decoded(data: bytes) -> str:
    """Return the text of a requirements file by its byte order mark, or as UTF-8."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    return data.decode("utf-8", "replace")


def _without_comments(text: str) -> str:
    lines = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def _identity(interpreter: str) -> tuple[str, str]:
    """Return the path, version and platform of an interpreter, on which environments depend.

    The interpreter of a virtual environment is a link to another one, whose path counts. So several
    checkouts with their own environments share the environments of functions.
    """
    return os.path.realpath(interpreter), _tag(interpreter)


def _tag(interpreter: str) -> str:
    code = "import sys,sysconfig;print(sys.version_info[:3], sysconfig.get_platform())"
    return subprocess.run(
        [interpreter, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def _run(command: list[str], folder: Path, progress: Progress) -> None:
    """Run an installer and pass its progress on; raise NotPrepared with its error message."""

    def tell(line: str) -> None:
        if line.strip().startswith(_PROGRESS):
            progress(line.strip())

    done = run_child(command, cwd=folder, env=uv_variables(), on_line=tell)
    if done.status != 0:
        raise NotPrepared(_reason([line.rstrip() for line in done.lines]))


def _reason(said: list[str]) -> str:
    # uv writes causes on lines of their own, older versions with an arrow.
    starts = ("error", "cause:", "× no", "╰─▶")
    errors = [line.strip() for line in said if line.strip().lower().startswith(starts)]
    told = errors[-3:] or [line for line in said if line.strip()][-3:]
    return "its Python environment cannot be built: " + " / ".join(told)
