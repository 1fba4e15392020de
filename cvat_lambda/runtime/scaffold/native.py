"""New function folders that serve a function of CVAT's SDK (``cvat_sdk.auto_annotation``)."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cvat_lambda.runtime.environments.build import EnvironmentBuilder
from cvat_lambda.runtime.errors import FunctionBroken, RuntimeFault
from cvat_lambda.runtime.paths import cache_folder
from cvat_lambda.runtime.processes.subprocesses import run_child
from cvat_lambda.runtime.scaffold.kinds import TEMPLATES, empty_folder, filled

# The modules of serverless/common that serve such a function. The folder gets copies of them.
MODULES: Final = (
    "__init__",
    "answers",
    "binary",
    "errors",
    "images",
    "inputs",
    "native",
    "native_detector",
    "native_interactor",
    "native_masks",
    "native_tracker",
    "platform",
)
PYTHON: Final = "3.11"  # that of the template's base image
_TORCHVISION: Final = "cvat_sdk.auto_annotation.functions.torchvision_"
_README: Final = """\
# {title}

Serves `{target}`, a function of CVAT's SDK, as a {kind}.

    python -m cvat_lambda.runtime check {name}     # starts it, calls it, judges its answers
    python -m cvat_lambda.runtime {name}           # serves it
"""
_SOURCE: Final = re.compile(r"^([A-Za-z_][\w.]*)(:[A-Za-z_]\w*)?$")


HELP: Final = "a function of CVAT's SDK (cvat_sdk.auto_annotation)"
_OPTION: Final = "--native"


def as_subcommand(words: Sequence[str]) -> list[str]:
    """Return a command line with ``new --native SOURCE`` as ``new native SOURCE``."""
    if _OPTION not in words[:-1]:
        return list(words)
    place = list(words).index(_OPTION)
    return [words[0], "native", words[place + 1], *words[1:place], *words[place + 2 :]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``new native``."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a module, or a file that is copied; after ':' a function or its factory in it",
    )
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="the id of the function (default: the module's)"
    )
    parser.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        type=_parameter,
        metavar="NAME=TYPE:VALUE",
        dest="parameters",
        help="a parameter of the factory, as for cvat-cli; TYPE is str, int, float or bool",
    )
    parser.add_argument(
        "--requirement",
        action="append",
        default=[],
        metavar="PACKAGE",
        dest="requirements",
        help="a package that the function needs beside the SDK, as in requirements.txt",
    )
    parser.add_argument("--into", type=Path, default=Path(), help="the folder to write it into")


_BOOLEANS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_TYPES: Final[dict[str, Callable[[str], object]]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": lambda text: _BOOLEANS[text.lower()],
}


def _parameter(text: str) -> tuple[str, object]:
    """Return the name and the value of ``NAME=TYPE:VALUE``."""
    name, _, typed = text.partition("=")
    kind, separator, value = typed.partition(":")
    if not name or not separator or kind not in _TYPES:
        raise argparse.ArgumentTypeError(
            f"{text!r} must look like NAME=TYPE:VALUE, with the type {', '.join(_TYPES)}"
        )
    try:
        return name, _TYPES[kind](value)
    except (ValueError, KeyError):
        raise argparse.ArgumentTypeError(f"{value!r} of {name!r} is no {kind}") from None


def write(options: Mapping[str, Any]) -> Path:
    """Write a folder that serves a function of CVAT's SDK and return it.

    The function is loaded in an environment of its own, and its labels or prompts are written into
    function.yaml. A file is copied into the folder. Raise RuntimeFault if the folder exists or the
    function cannot be loaded; the folder is deleted then.
    """
    parameters = dict(options["parameters"])
    file, target = _resolved(options["source"])
    folder = empty_folder(options["name"] or _name_of(target), options["into"])
    try:
        shutil.copytree(
            TEMPLATES / "common",
            folder / "common",
            ignore=lambda _, names: [name for name in names if not _is_copied(name)],
        )
        if file is not None:
            shutil.copy(file, folder / file.name)
        (folder / "requirements.txt").write_text(
            "\n".join(_requirements(target, options["requirements"])) + "\n", encoding="utf-8"
        )
        _write_function_file(folder, target, parameters, {"type": "detector"})
        annotations = _annotations_of(folder)
        _write_function_file(folder, target, parameters, annotations)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _resolved(source: str) -> tuple[Path | None, str]:
    """Return the file to copy, if any, and ``module`` or ``module:attribute``."""
    path, _, attribute = source.partition(":")
    file = Path(path) if path.endswith(".py") else None
    if file is not None:
        if not file.is_file():
            raise RuntimeFault(f"there is no file {file}")
        source = file.stem + (f":{attribute}" if attribute else "")
    if _SOURCE.match(source) is None:
        raise RuntimeFault(
            f"{source!r} must be a module or a file of Python, with a name after ':' if any"
        )
    return file, source


def _name_of(target: str) -> str:
    words = target.partition(":")[0].rpartition(".")[2].lower()
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-")


def _is_copied(name: str) -> bool:
    return name.endswith(".py") and name.removesuffix(".py") in MODULES


def _requirements(target: str, more: Sequence[str]) -> list[str]:
    extra = "pytorch" if target.startswith(_TORCHVISION) else "masks"
    return [f"cvat-sdk[{extra}]>=2.54", "numpy>=1.23", "pillow>=10.3", "PyYAML>=6", *more]


def _write_function_file(
    folder: Path, target: str, parameters: Mapping[str, object], annotations: Mapping[str, str]
) -> None:
    section = f"\nx-cvat-lambda:\n  native: {json.dumps(target)}\n"
    if parameters:
        section += f"  parameters: {json.dumps(parameters)}\n"
    words = {
        "name": folder.name,
        "title": folder.name.replace("-", " ").capitalize(),
        "kind": annotations["type"],
        "annotations": "\n".join(
            _as_yaml(key, value) for key, value in annotations.items() if key != "type"
        ),
        "description": f"Serves {target.partition(':')[0]}",
        "handler": "common.native:handler",
        "extras": section,
    }
    text = filled(TEMPLATES / "function.yaml.template", words)
    (folder / "function.yaml").write_text(text, encoding="utf-8")
    (folder / "README.md").write_text(_README.format(**words, target=target), encoding="utf-8")


def _as_yaml(key: str, value: str) -> str:
    """Return an annotation as lines of YAML: text of several lines as a block, else quoted."""
    lines = value.splitlines()
    if len(lines) < 2:
        return f"    {key}: {json.dumps(value)}"
    return "\n".join([f"    {key}: |", *(f"      {line}" for line in lines)])


def _annotations_of(folder: Path) -> dict[str, str]:
    """Load the function in its environment and return the annotations that describe it."""
    builder = EnvironmentBuilder(cache_folder() / "environments")
    interpreter = builder.prepare(folder, PYTHON, print).interpreter
    print("loading the function to read its labels or prompts")
    done = run_child([str(interpreter), "-m", "common.native"], cwd=folder, env=os.environ)
    for place in folder.rglob("__pycache__"):
        shutil.rmtree(place, ignore_errors=True)
    if done.status != 0:
        reason = next((line for line in reversed(done.lines) if line.strip()), "no message")
        raise FunctionBroken(f"the function cannot be loaded: {reason.strip()}")
    for line in reversed(done.lines):
        if line.startswith("{"):
            found: dict[str, str] = json.loads(line)
            return found
    raise FunctionBroken("the function cannot be loaded: it ended its process")
