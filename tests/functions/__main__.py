"""Test the model functions in their own environments.

The tests of the catalogue's networks run in the environments of their functions, each test once.
Each function folder is linted, served by the embedded runtime and called with pictures, and its
answers are checked. Functions whose official weights are not available are served with stand-ins of
the same names and shapes. A function-gpu.yaml that differs by more than a GPU is tested too, on the
CPU. Finally the tests of the packaged functions compare answers about photographs with what is in
them, a browser clicks in the workbench, and the torchvision functions of CVAT's SDK and those that
`new` writes for models of PyTorch run with random weights.

Environments, weights and proofs are cached per user. A proof holds until the function's folder,
serverless/common, the runtime or the tests of the functions change.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cvat_lambda.runtime.commands import read_config
from cvat_lambda.runtime.environments.build import (
    GPU_REQUIREMENTS,
    EnvironmentBuilder,
    read_requirements,
    requirements_file,
)
from cvat_lambda.runtime.environments.variables import thread_variables
from cvat_lambda.runtime.paths import cache_folder
from cvat_lambda.runtime.spec.discovery import GPU_FILE
from cvat_lambda.runtime.spec.function_file import read_document
from tests import browser
from tests.functions.catalogue.stand_ins.__main__ import STAND_INS
from tests.functions.network_tests import modules_of
from tests.functions.proofs import Proofs, digest_of

REPOSITORY = Path(__file__).resolve().parents[2]
TESTS = REPOSITORY / "tests"
CATALOGUE = TESTS / "functions" / "catalogue"
PACKAGED = TESTS / "functions" / "packaged"
APP = REPOSITORY / "cvat_lambda"
RUNTIME = APP / "runtime"
COMMON = REPOSITORY / "serverless" / "common"
DATA = TESTS / "data"
ENVIRONMENTS = TESTS / "functions" / "environments.py"
APP_FIXTURES = TESTS / "integration" / "new_models" / "conftest.py"
FIXTURES = (
    TESTS / "functions" / "conftest.py",
    TESTS / "integration" / "runtime" / "harness.py",
)
# Folders of tests that call served functions: the name of the proof, and what its result depends on
# besides the folder, the fixtures, the runtime and the browser.
SERVED: Mapping[Path, tuple[str, Sequence[Path]]] = {
    PACKAGED: (
        "answers of the packaged functions",
        (REPOSITORY / "serverless", APP / "server" / "photographs", DATA / "masks"),
    ),
    TESTS / "functions" / "workbench": (
        "a click in the workbench",
        (
            *(APP, REPOSITORY / "serverless", DATA / "masks", PACKAGED / "photographs.py"),
            *(APP_FIXTURES, TESTS / "api" / "web" / "conftest.py"),
        ),
    ),
    TESTS / "functions" / "native": (
        "torchvision functions of CVAT's SDK",
        (
            *(COMMON, APP / "server" / "photographs", PACKAGED / "photographs.py"),
            *(ENVIRONMENTS, CATALOGUE / "makers" / "torchvision_ops.py"),
        ),
    ),
    TESTS / "functions" / "new_models": (
        "functions that new writes for models of PyTorch",
        (
            *(APP, COMMON, ENVIRONMENTS, CATALOGUE / "makers" / "torchvision_ops.py"),
            *(CATALOGUE / "stand_ins", APP_FIXTURES),
        ),
    ),
}
TOOLS = ("pytest==9.2.0", "PyYAML==6.0.3")
AT_ONCE = 2  # number of concurrent builds, and of concurrent proofs


Outcome = tuple[bool, str]  # whether it passed, and its output


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A proof: its name, the digest of all that it depends on, and a function that runs it."""

    name: str
    digest: str
    run: Callable[[], Outcome]


def say(line: str) -> None:
    """Print one line of progress."""
    print(line, flush=True)


def run_command(command: Sequence[str], variables: Mapping[str, str]) -> Outcome:
    """Run a command in the repository. Return its output, because other commands run beside it."""
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode == 0, done.stdout


def folders() -> dict[str, Path]:
    """Return the folder of each function by its id."""
    found = sorted((REPOSITORY / "serverless").glob("*/*/*/function.yaml"))
    return {read_config(path.parent).name: path.parent for path in found}


def test_tools() -> Path:
    """Return a folder with pytest, so that it is not installed in the functions' environments."""
    place = cache_folder() / "test-tools" / "-".join(TOOLS)
    if not (place / ".complete").exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(place)]
        subprocess.run([*command, "--disable-pip-version-check", *TOOLS], check=True)
        (place / ".complete").touch()
    return place


def run_network_tests(python: Path, tools: Path, modules: Sequence[str]) -> Outcome:
    """Run test modules of the catalogue with one environment's interpreter."""
    command = [str(python), "-m", "pytest", "-q", "-c", str(CATALOGUE / "pytest.ini")]
    variables = {**thread_variables(1), "PYTHONPATH": str(tools)}
    return run_command([*command, *(str(CATALOGUE / name) for name in modules)], variables)


def run_served_tests(folder: Path) -> Outcome:
    """Run the tests of served functions in one process, because they share one runtime."""
    command = [sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider"]
    return run_command([*command, str(folder)], {})


def stand_ins(name: str, python: Path, place: Path) -> Mapping[str, str]:
    """Return environment variables that name stand-ins for a function's official weights."""
    if name not in STAND_INS:
        return {}
    command = [str(python), "-m", "tests.functions.catalogue.stand_ins", name, str(place)]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    lines = (line.partition("=") for line in done.stdout.splitlines() if "=" in line)
    return {variable: path for variable, _, path in lines}


def differs_on_gpu(folder: Path) -> bool:
    """Return whether a folder's GPU variant has another environment or other variables."""
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


def check(name: str, folder: Path, python: Path, *, gpu: bool = False) -> Outcome:
    """Lint, serve and call one folder. Return whether it fulfils the contract."""
    with tempfile.TemporaryDirectory() as scratch:
        variables = stand_ins(name, python, Path(scratch))
        command = [sys.executable, "-m", "cvat_lambda.runtime", "check"]
        if gpu:
            folder = without_cuda(folder, Path(scratch))
            command += ["--gpu"]
        return run_command([*command, str(folder)], variables)


def environment_groups(chosen: Mapping[str, Path]) -> list[list[str]]:
    """Return the functions that share an environment, the largest group first."""
    groups: dict[object, list[str]] = {}
    for name, folder in chosen.items():
        needs = read_requirements(requirements_file(folder, gpu=False))
        groups.setdefault((read_config(folder).python, *needs), []).append(name)
    return sorted(groups.values(), key=len, reverse=True)


def prepare(folder: Path) -> Path:
    """Return the interpreter of a function's environment. Build the environment if needed."""
    builder = EnvironmentBuilder(cache_folder() / "environments")
    say(f"== the environment of {folder.name}")
    version = read_config(folder).python
    return builder.prepare(folder, version, lambda line: say(f"{folder.name}: {line}")).interpreter


def proofs_of(group: Sequence[str], python: Path, chosen: Mapping[str, Path]) -> Iterator[Proof]:
    """Yield the proofs of the functions of one environment."""
    networks = [name for name in group if name in STAND_INS]
    if networks:
        tools, modules = test_tools(), modules_of(networks)
        inputs = [CATALOGUE, DATA / "catalogue", *(chosen[name] for name in networks)]
        yield Proof(
            name=f"networks of {', '.join(networks)}",
            digest=digest_of(inputs, str(python), *TOOLS, *modules),
            run=partial(run_network_tests, python, tools, modules),
        )
    for name in group:
        folder = chosen[name]
        digest = digest_of([folder, RUNTIME, CATALOGUE / "stand_ins"], str(python))
        for gpu in (False, True)[: 1 + differs_on_gpu(folder)]:
            yield Proof(
                name=f"{name}, {GPU_FILE} on the CPU" if gpu else name,
                digest=digest,
                run=partial(check, name, folder, python, gpu=gpu),
            )


def served_proof(folder: Path) -> Proof:
    """Return the proof that runs the tests of a folder with served functions."""
    name, inputs = SERVED[folder]
    return Proof(
        name=name,
        digest=digest_of([folder, *inputs, *FIXTURES, RUNTIME], sys.executable, str(browser.PATH)),
        run=partial(run_served_tests, folder),
    )


def carry_out(proof: Proof) -> bool:
    """Run a proof, print its output and its result, and return whether it passed."""
    began = time.monotonic()
    passed, output = proof.run()
    seconds = time.monotonic() - began
    say(f"{output.rstrip()}\n== {'passed' if passed else 'FAILED'}: {proof.name} ({seconds:.0f} s)")
    return passed


def prove(names: Sequence[str], proofs: Proofs, *, anew: bool) -> list[str]:
    """Prove the given functions, or all. Return the names of the failed proofs."""
    chosen = {name: folder for name, folder in folders().items() if not names or name in names}
    running: dict[Future[bool], Proof] = {}

    def begin(found: Iterable[Proof]) -> None:
        for proof in found:
            if not anew and proofs.holds(proof.name, proof.digest):
                say(f"== unchanged since it passed: {proof.name}")
            else:
                running[checkers.submit(carry_out, proof)] = proof

    with ThreadPoolExecutor(AT_ONCE) as builders, ThreadPoolExecutor(AT_ONCE) as checkers:
        groups = environment_groups(chosen)
        built = {builders.submit(prepare, chosen[group[0]]): group for group in groups}
        for future in as_completed(built):
            begin(proofs_of(built[future], future.result(), chosen))
        if not names:
            begin(map(served_proof, SERVED))
    failed = []
    for ended, proof in running.items():
        if ended.result():
            proofs.keep(proof.name, proof.digest)
        else:
            proofs.drop(proof.name)
            failed.append(proof.name)
    return failed


def main(arguments: Sequence[str]) -> int:
    """Run all proofs, and print the failed ones at the end. Return the exit status."""
    parser = argparse.ArgumentParser(
        prog="script/test-functions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help="a function; default: all of them")
    parser.add_argument("--all", action="store_true", help="prove again what has not changed")
    options = parser.parse_args(arguments)
    unknown = set(options.ids) - set(folders())
    if unknown:
        parser.error(f"no function below serverless/ is named {', '.join(sorted(unknown))}")
    proofs = Proofs(folder=cache_folder() / "proofs")
    failed = prove(options.ids, proofs, anew=options.all or bool(options.ids))
    say(f"{len(failed)} failed{': ' + '; '.join(failed) if failed else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
