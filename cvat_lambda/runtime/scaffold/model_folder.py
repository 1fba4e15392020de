"""Writes the folder of a ready function: templates, settings, weights, and the shared decoder."""

from __future__ import annotations

import ast
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cvat_lambda.runtime.errors import RuntimeFault
from cvat_lambda.runtime.paths import file_digest
from cvat_lambda.runtime.scaffold.kinds import check_name, filled

_TEMPLATES: Final = Path(__file__).resolve().parents[1] / "templates"
_COMMON: Final = _TEMPLATES / "common"  # a link to serverless/common; a copy in a wheel
SETTINGS_FILE: Final = "model.json"  # marks a folder that this module wrote


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The file of weights of a function."""

    file: str  # name in the folder weights/
    path: Path  # where it is now
    url: str | None = None  # where the runtime fetches it; None: it is copied into the folder
    licence: str | None = None  # of a file that is fetched


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """All that differs between the folders of ready functions."""

    name: str
    parent: Path
    description: str
    command: str  # that writes the folder, for its README
    decoder: str  # the module of common/ whose load() returns the model
    requirements: str  # the name of a pair of requirements files among the templates
    labels: Sequence[dict[str, Any]]  # as in the annotation "spec", without ids
    settings: dict[str, Any]  # the content of model.json
    weights: Weights | None = None
    annotations: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of the function."""
        return self.parent / self.name


def write(model: ModelFolder, *, update: bool) -> Path:
    """Write the folder and return it; with ``update``, replace what an earlier call wrote.

    Raise RuntimeFault for a name that Nuclio refuses, or for a folder that may not be replaced.
    """
    check_name(model.name)
    target = model.folder
    if target.exists() and not update:
        raise RuntimeFault(f"{target} exists already: choose another name, or add --update")
    if target.exists() and not (target / SETTINGS_FILE).is_file():
        raise RuntimeFault(f"{target} was not written by this command: it has no {SETTINGS_FILE}")
    model.parent.mkdir(parents=True, exist_ok=True)
    # Written beside the target first, so that a full disk leaves the old folder as it is.
    with tempfile.TemporaryDirectory(prefix=f".{model.name}.", dir=model.parent) as scratch:
        written = Path(scratch) / model.name
        written.mkdir()
        _write_files(model, written)
        if target.exists():
            for name in ("common", "weights"):
                shutil.rmtree(target / name, ignore_errors=True)
            shutil.copytree(written, target, dirs_exist_ok=True)
        else:
            written.rename(target)
    return target


def _write_files(model: ModelFolder, folder: Path) -> None:
    sha256 = None if model.weights is None else file_digest(model.weights.path)
    texts = {
        "function.yaml": _function_file(model, sha256, gpu=False),
        "function-gpu.yaml": _function_file(model, sha256, gpu=True),
        "requirements.txt": _requirements(model.requirements),
        "requirements-gpu.txt": _requirements(f"{model.requirements}-gpu"),
        SETTINGS_FILE: json.dumps(model.settings, indent=2, ensure_ascii=False) + "\n",
    }
    words = {
        "name": model.name,
        "title": _title(model.name),
        "description": model.description,
        "decoder": model.decoder,
        "command": model.command,
    }
    for name in ("main.py", "model.py", "README.md"):
        texts[name] = filled(_TEMPLATES / "model" / f"{name}.template", words)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "common").mkdir()
    for module in _modules({"entry", model.decoder}):
        shutil.copy2(_COMMON / f"{module}.py", folder / "common" / f"{module}.py")
    if model.weights is not None and model.weights.url is None:
        (folder / "weights").mkdir()
        shutil.copy2(model.weights.path, folder / "weights" / model.weights.file)


def _function_file(model: ModelFolder, sha256: str | None, *, gpu: bool) -> str:
    weights = model.weights
    words = {
        "name": model.name,
        "title": json.dumps(_title(model.name)),  # JSON is YAML, whatever the text contains
        "description": json.dumps(model.description, ensure_ascii=False),
        "annotations": "\n".join(
            f"    {key}: {json.dumps(value, ensure_ascii=False)}"
            for key, value in model.annotations.items()
        ),
        "labels": ",\n".join(
            "        " + json.dumps({"id": index, **label}, ensure_ascii=False)
            for index, label in enumerate(model.labels)
        ),
        "workers": "1",
        "resources": "  resources:\n    limits:\n      nvidia.com/gpu: 1" if gpu else "",
        "tag": ":latest-gpu" if gpu else "",
        "requirements": "requirements-gpu.txt" if gpu else "requirements.txt",
        "add_weights": "",
        "weights": "",
    }
    if weights is not None:
        source = {"local": f"weights/{weights.file}"}
        if weights.url is not None:
            source = {"url": weights.url, "licence": weights.licence or "unstated"}
            words["add_weights"] = (
                f"        - kind: ADD\n          value: {weights.url} weights/{weights.file}"
            )
        entry = {"file": weights.file, **source, "sha256": sha256}
        lines = [f"      {key}: {json.dumps(value)}" for key, value in entry.items()]
        lines[0] = lines[0].replace("      ", "    - ", 1)
        words["weights"] = "\n".join(["", "x-cvat-lambda:", "  weights:", *lines])
    text = filled(_TEMPLATES / "model" / "function.yaml.template", words)
    # A word without a value leaves an empty line. Labels have no empty lines.
    return "\n".join(line for line in text.split("\n") if line.strip()) + "\n"


def _title(name: str) -> str:
    return name.replace("-", " ").capitalize()


def _requirements(name: str) -> str:
    return (_TEMPLATES / "model" / "requirements" / f"{name}.txt").read_text(encoding="utf-8")


def _modules(names: set[str]) -> set[str]:
    """Return modules of common/ with all of its modules that they import."""
    found = {"__init__"}
    todo = set(names)
    while todo:
        name = todo.pop()
        found.add(name)
        tree = ast.parse((_COMMON / f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                package, _, module = node.module.partition(".")
                if package == "common":
                    used = {module} if module else {alias.name for alias in node.names}
                    todo |= used - found
    return found
