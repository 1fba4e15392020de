"""Proves every function folder in its own environment: ``python -m tests.functions [ID ...]``.

The tests of the catalogue's networks run inside each distinct environment; then every folder is
linted, served by the embedded runtime, called with pictures, and its answers are judged. Functions
whose official weights are not at hand are served with stand-ins of the same names and shapes.
A function-gpu.yaml that asks for more than a GPU is proved too, on the CPU that stands in for it.
Environments and weights are cached per user, so a second run is much quicker.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from cvat_lambda.runtime.commands import read_config
from cvat_lambda.runtime.environments.build import GPU_REQUIREMENTS, EnvironmentBuilder
from cvat_lambda.runtime.environments.variables import thread_variables
from cvat_lambda.runtime.paths import cache_folder
from cvat_lambda.runtime.spec.discovery import GPU_FILE
from cvat_lambda.runtime.spec.function_file import read_document
from tests.functions.catalogue.stand_ins.__main__ import STAND_INS

REPOSITORY = Path(__file__).resolve().parents[2]
CATALOGUE = Path("tests/functions/catalogue")
TOOLS = ("pytest==9.2.0", "PyYAML==6.0.3")
NO_TESTS = 5  # pytest's exit status where a module was skipped and nothing is left


def say(line: str) -> None:
    """One line of progress."""
    print(line, flush=True)


def folders() -> dict[str, Path]:
    """The folder of each function, by id."""
    found = sorted((REPOSITORY / "serverless").glob("*/*/*/function.yaml"))
    return {read_config(path.parent).name: path.parent for path in found}


def test_tools() -> Path:
    """A folder with pytest, beside the functions' environments: those stay as they are."""
    place = cache_folder() / "test-tools" / "-".join(TOOLS)
    if not (place / ".complete").exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(place)]
        subprocess.run([*command, "--disable-pip-version-check", *TOOLS], check=True)
        (place / ".complete").touch()
    return place


def run_network_tests(python: Path, tools: Path) -> bool:
    """Run the catalogue's tests with one environment's interpreter."""
    command = [str(python), "-m", "pytest", "-q", "-c", str(CATALOGUE / "pytest.ini")]
    environment = {**os.environ, **thread_variables(1), "PYTHONPATH": str(tools)}
    done = subprocess.run([*command, str(CATALOGUE)], cwd=REPOSITORY, env=environment, check=False)
    return done.returncode in (0, NO_TESTS)


def stand_ins(name: str, python: Path, place: Path) -> Mapping[str, str]:
    """Environment variables that name stand-ins for a function's official weights."""
    if name not in STAND_INS:
        return {}
    command = [str(python), "-m", "tests.functions.catalogue.stand_ins", name, str(place)]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    lines = (line.partition("=") for line in done.stdout.splitlines() if "=" in line)
    return {variable: path for variable, _, path in lines}


def differs_on_gpu(folder: Path) -> bool:
    """Whether a folder's GPU variant has another environment, or other variables."""
    variant = folder / GPU_FILE
    if not variant.exists():
        return False
    env, gpu_env = (
        read_document(file)["spec"].get("env") for file in (folder / "function.yaml", variant)
    )
    return env != gpu_env or (folder / GPU_REQUIREMENTS).exists()


def without_cuda(folder: Path, place: Path) -> Path:
    """A copy of a folder whose needs on a GPU leave CUDA's libraries out.

    They are an extra of the framework's own package, several gigabytes that nothing on a machine
    without an NVIDIA device can load. The package itself is the GPU's.
    """
    copy = place / folder.name
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("__pycache__"))
    needs = copy / GPU_REQUIREMENTS
    if needs.exists():
        needs.write_text(re.sub(r"\[(cuda,cudnn|and-cuda)\]", "", needs.read_text("utf-8")))
    return copy


def check(name: str, folder: Path, python: Path, *, gpu: bool = False) -> bool:
    """Lint, serve and call one folder; whether it keeps its contract."""
    with tempfile.TemporaryDirectory() as scratch:
        variables = stand_ins(name, python, Path(scratch))
        command = [sys.executable, "-m", "cvat_lambda.runtime", "check"]
        if gpu:
            folder = without_cuda(folder, Path(scratch))
            command += ["--gpu"]
        command += [str(folder)]
        environment = {**os.environ, **variables}
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, check=False)
        return done.returncode == 0


def prove(names: list[str]) -> Iterator[tuple[str, bool]]:
    """What was run, and whether it passed, as it goes."""
    builder = EnvironmentBuilder(cache_folder() / "environments")
    chosen = {name: folder for name, folder in folders().items() if not names or name in names}
    pythons: dict[str, Path] = {}
    for name, folder in chosen.items():
        say(f"== the environment of {name}")
        pythons[name] = builder.prepare(folder, read_config(folder).python, say)
    tools = test_tools()
    for python in dict.fromkeys(pythons[name] for name in chosen if name in STAND_INS):
        yield f"networks in {python.parents[1].name[:8]}", run_network_tests(python, tools)
    for name, folder in chosen.items():
        for gpu in (False, True)[: 1 + differs_on_gpu(folder)]:
            began = time.monotonic()
            passed = check(name, folder, pythons[name], gpu=gpu)
            what = f"{name}, {GPU_FILE} on the CPU" if gpu else name
            yield f"{what} ({time.monotonic() - began:.0f} s)", passed


def main(names: list[str]) -> int:
    """Run everything, then say once more what failed; the exit status tells."""
    failed = []
    for what, passed in prove(names):
        say(f"== {'passed' if passed else 'FAILED'}: {what}")
        if not passed:
            failed.append(what)
    say(f"{len(failed)} failed{': ' + ', '.join(failed) if failed else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
