"""Environment and image of a function install what it imports, for both function files."""

from __future__ import annotations

import ast
import re
import shlex
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from cvat_lambda.runtime.environments.build import requirements_file
from cvat_lambda.runtime.spec.function_file import gpu_resources

SERVERLESS = Path(__file__).resolve().parents[3] / "serverless"
FILES = sorted(SERVERLESS.glob("*/*/*/function*.yaml"))
IDS = [path.relative_to(SERVERLESS).as_posix() for path in FILES]

# module -> the distributions that contain it
DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    "PIL": ("pillow",),
    "cv2": ("opencv-python-headless",),
    "numpy": ("numpy",),
    "onnx": ("onnx",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "openvino": ("openvino",),
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "torch": ("torch",),
    "transformers": ("transformers",),
    "yaml": ("pyyaml",),
}
# base image -> its Python version. Nuclio copies wheels for the version of spec.runtime into the
# image, and the image's interpreter installs them. So the two versions must be equal.
PYTHON_OF_IMAGE = {
    "python:3.10-slim": "3.10",
    "python:3.11-slim": "3.11",
    "python:3.12-slim": "3.12",
    "nvidia/cuda:12.6.3-cudnn-runtime-ubuntu22.04": "3.10",  # python3 of Ubuntu 22.04
    "ubuntu:22.04": "3.10",
    "ubuntu:24.04": "3.12",
}
# Modules that only the build uses.
BUILD_TOOLS = frozenset({"gdown", "pyyaml"})


# --- imported modules ----------------------------------------------------------------------------


class Imports:
    """The third-party modules that a function's modules import, directly or through `common`.

    Of a module of `common`, what is imported when it is loaded counts, and what is imported late
    inside the functions and classes of it that are used: OpenVINO, for one, is needed by
    `OpenVinoNetwork` and not by `threads`, its neighbour. What a ``try`` imports that handles
    ImportError is optional.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: set[tuple[Path, str | None]] = set()
        self.found: set[str] = set()

    def module(self, path: Path) -> None:
        """Add all imports of a module."""
        self._take(path, None)

    def _take(self, path: Path, name: str | None) -> None:
        if (path, name) in self._seen:
            return
        self._seen.add((path, name))
        for module, names in _imports_of(path.resolve(), name):
            self._add(module, names)

    def _add(self, module: str, names: frozenset[str] | None) -> None:
        """Add an imported module: the imports of the used names, or all imports for None."""
        path = self._folder.joinpath(*module.split("."))
        if path.is_dir():  # a package: its modules are imported by name
            for name in names or ():
                self.module(path / f"{name}.py")
        elif path.with_suffix(".py").is_file():
            for part in (
                (None,) if names is None else ("", *names)
            ):  # "": the code that runs at import
                self._take(path.with_suffix(".py"), part)
        elif module.split(".")[0] not in sys.stdlib_module_names:
            self.found.add(module.split(".")[0])


@cache
def _imports_of(path: Path, name: str | None) -> list[tuple[str, frozenset[str] | None]]:
    """Return each imported module with the names that are used of it, or None for the module.

    A name limits this to a definition of the file; the empty name, to what runs at its import.
    """
    body = _body_of(path)
    definitions = {
        node.name: node for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }
    parts = [node for node in body if node not in definitions.values()]
    parts += [definitions[used] for used in _closure(definitions, name)]
    nodes = [node for part in (body if name is None else parts) for node in _at_run_time(part)]
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    found: list[tuple[str, frozenset[str] | None]] = []
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = (alias.name for alias in node.names if (alias.asname or alias.name) in used)
            found.append((node.module or "", frozenset(names)))
        elif _is_late_import(node):
            found.append((node.args[0].value, None))
    return found


@cache
def _body_of(path: Path) -> list[ast.stmt]:
    return ast.parse(path.read_text(encoding="utf-8")).body


def _closure(definitions: dict[str, Any], name: str | None) -> set[str]:
    """Return a definition's name with those of the module's others that it uses."""
    todo, found = [name] if name in definitions else [], set[str]()
    while todo:
        one = todo.pop()
        if one in definitions and one not in found:
            found.add(one)
            todo += [node.id for node in ast.walk(definitions[one]) if isinstance(node, ast.Name)]
    return found


def _at_run_time(tree: ast.AST) -> Iterator[Any]:
    if isinstance(tree, ast.If) and getattr(tree.test, "id", "") == "TYPE_CHECKING":
        return
    yield tree
    is_optional = isinstance(tree, ast.Try) and any(
        getattr(handler.type, "id", "") == "ImportError" for handler in tree.handlers
    )
    for child in ast.iter_child_nodes(tree):
        if not (is_optional and isinstance(child, (ast.Import, ast.ImportFrom))):
            yield from _at_run_time(child)


def _is_late_import(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and getattr(node.func, "attr", "") == "import_module"
        and isinstance(node.args[0], ast.Constant)
    )


@cache
def imported(folder: Path) -> set[str]:
    """Return the third-party modules of a function's folder."""
    imports = Imports(folder)
    for path in folder.glob("*.py"):
        imports.module(path)
    return imports.found


# --- installed distributions ---------------------------------------------------------------------


def distribution(requirement: str) -> str:
    """Return the name of a requirement's distribution."""
    [name] = re.findall(r"^[\w.-]+", requirement)
    return str(name).lower().replace("_", "-")


def requirements(path: Path) -> set[str]:
    return {line.lower() for line in path.read_text(encoding="utf-8").split()}


def directives(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each RUN directive of an image with its place."""
    for side in ("preCopy", "postCopy"):
        for directive in document["spec"]["build"]["directives"].get(side, []):
            if directive["kind"] == "RUN":
                yield side, directive["value"]


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command of a shell line."""
    words: list[str] = []
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    for word in lexer:
        if set(word) <= set("();<>|&"):
            yield words
            words = []
        else:
            words.append(word)
    yield words


def installed(document: dict[str, Any], folder: Path) -> set[str]:
    """Return what pip installs for the image's interpreter. Temporary environments are skipped."""
    found: set[str] = set()
    for side, text in directives(document):
        for words in commands(text):
            if words[:2] != ["pip", "install"]:
                continue
            rest = iter(words[2:])
            for word in rest:
                if word == "-r":
                    # The folder is in the image only after it was copied.
                    assert side == "postCopy"
                    found |= requirements(folder / Path(next(rest)).relative_to("/opt/nuclio"))
                elif not word.startswith("-"):
                    found.add(word.lower())
    return found


def modules_run(document: dict[str, Any], folder: Path) -> set[str]:
    """Return the third-party modules that the build runs with ``python -m``."""
    imports = Imports(folder)
    for _, text in directives(document):
        for module in re.findall(r"python -m (common[\w.]*)", text):
            imports.module(folder.joinpath(*module.split(".")).with_suffix(".py"))
    return imports.found


def uncovered(modules: set[str], wanted: set[str]) -> set[str]:
    names = {distribution(requirement) for requirement in wanted}
    return {module for module in modules if not names & set(DISTRIBUTIONS[module])}


# --- tests ---------------------------------------------------------------------------------------


@cache
def read(file: Path) -> tuple[dict[str, Any], Path]:
    """Return a function file's document and its requirements file."""
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    return document, requirements_file(file.parent, gpu=bool(gpu_resources(document)))


def test_all_function_files_are_found() -> None:
    assert len(FILES) == 44  # 26 folders, 18 of them with a GPU file


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_environment_installs_every_imported_module(file: Path) -> None:
    _, needs = read(file)
    assert uncovered(imported(file.parent), requirements(needs)) == set()


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_image_installs_every_module_that_function_and_build_import(file: Path) -> None:
    document, _ = read(file)
    modules = imported(file.parent) | modules_run(document, file.parent)
    assert uncovered(modules, installed(document, file.parent)) == set()


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_image_installs_the_same_requirements_as_the_runtime(file: Path) -> None:
    document, needs = read(file)
    in_image = installed(document, file.parent)
    tools = {each for each in in_image if distribution(each) in BUILD_TOOLS}
    assert in_image - tools == requirements(needs)


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_python_of_the_base_image_is_that_of_the_function_file(file: Path) -> None:
    document, _ = read(file)
    version = PYTHON_OF_IMAGE[document["spec"]["build"]["baseImage"]]
    assert document["spec"]["runtime"] == f"python:{version}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from common.devices import OpenVinoNetwork as Net\nNet()", {"numpy", "openvino"}),
        ("from common.devices import threads\nthreads()", {"numpy"}),
        ("from common.networks.prompts import Prompt\nPrompt()", {"numpy"}),
        (
            "from common.networks.mobile_sam import MobileSam\nMobileSam.load()",
            {"PIL", "cv2", "numpy", "openvino"},
        ),
        ("import torch.nn.functional", {"torch"}),
        (
            "from common.networks import nanodet\nnanodet.NanoDet.load()",
            {"PIL", "numpy", "openvino"},
        ),
        ("if TYPE_CHECKING:\n    import torch", set()),
        ("def late():\n    import yaml", {"yaml"}),
    ],
)
def test_imports_are_followed_through_common(tmp_path: Path, text: str, expected: set[str]) -> None:
    (tmp_path / "common").symlink_to(SERVERLESS / "common")
    (tmp_path / "model.py").write_text(f"import os\n{text}\n", encoding="utf-8")
    assert imported(tmp_path) == expected
