"""Writes the folder of a ready function: templates, settings, weights, and the shared decoder."""

from __future__ import annotations

import ast
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from cvat_lambda.runtime.errors import RuntimeFault
from cvat_lambda.runtime.paths import file_digest
from cvat_lambda.runtime.scaffold.kinds import check_name, filled

_TEMPLATES: Final = Path(__file__).resolve().parents[1] / "templates"
COMMON: Final = _TEMPLATES / "common"  # a link to serverless/common; a copy in a wheel
SETTINGS_FILE: Final = "model.json"  # marks a folder that this module wrote


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A file of weights of a function."""

    file: str  # name in the folder weights/
    path: Path | None = None  # where it is now; None: it has not been fetched
    sha256: str = ""  # of a file that has not been fetched
    checksum: str = "sha256"  # or "sha256_prefix": its first digits
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
    model_file: str = "model"  # the template of model.py
    requirements: str  # the name of a pair of requirements files among the templates
    labels: Sequence[dict[str, Any]]  # as in the annotation "spec", without ids
    settings: dict[str, Any]  # the content of model.json
    weights: Sequence[Weights] = ()
    annotations: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    kind: str = "detector"

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
    weights = [_with_checksum(each) for each in model.weights]
    texts = {
        "function.yaml": _function_file(model, weights, gpu=False),
        "function-gpu.yaml": _function_file(model, weights, gpu=True),
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
    for name, template in (
        ("main.py", "main.py"),
        ("model.py", f"{model.model_file}.py"),
        ("README.md", "README.md"),
    ):
        texts[name] = filled(_TEMPLATES / "model" / f"{template}.template", words)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "common").mkdir()
    for module in _modules({"entry", model.decoder}):
        target = folder / "common" / f"{module}.py"
        target.parent.mkdir(exist_ok=True)
        shutil.copy2(COMMON / f"{module}.py", target)
    for each in weights:
        if each.url is None and each.path is not None:
            place = folder / "weights" / each.file
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(each.path, place)


def _with_checksum(weights: Weights) -> Weights:
    if weights.path is None:
        return weights
    return replace(weights, sha256=file_digest(weights.path))


def _function_file(model: ModelFolder, weights: Sequence[Weights], *, gpu: bool) -> str:
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
        "add_weights": "\n".join(
            f"        - kind: ADD\n          value: {each.url} weights/{each.file}"
            for each in weights
            if each.url is not None
        ),
        "weights": _weights_section(weights),
        "kind": model.kind,
        "env": "\n".join(
            ["  env:"] * bool(model.env)
            + [
                f"    - name: {name}\n      value: {json.dumps(value, ensure_ascii=False)}"
                for name, value in model.env.items()
            ]
        ),
    }
    text = filled(_TEMPLATES / "model" / "function.yaml.template", words)
    # A word without a value leaves an empty line. Labels have no empty lines.
    return "\n".join(line for line in text.split("\n") if line.strip()) + "\n"


def _weights_section(weights: Sequence[Weights]) -> str:
    lines = []
    for each in weights:
        source = {"local": f"weights/{each.file}"}
        if each.url is not None:
            source = {"url": each.url, "licence": each.licence or "unstated"}
        entry = {"file": each.file, **source, each.checksum: each.sha256}
        rows = [f"      {key}: {json.dumps(value)}" for key, value in entry.items()]
        lines += [rows[0].replace("      ", "    - ", 1), *rows[1:]]
    return "\n".join(["", "x-cvat-lambda:", "  weights:", *lines]) if lines else ""


def _is_module(name: str) -> bool:
    return (COMMON / f"{name}.py").is_file()


def _title(name: str) -> str:
    return name.replace("-", " ").capitalize()


def _requirements(name: str) -> str:
    return (_TEMPLATES / "model" / "requirements" / f"{name}.txt").read_text(encoding="utf-8")


def _modules(names: set[str]) -> set[str]:
    """Return modules of common/, as paths without suffix, with all that they import of it."""
    found = {"__init__"}
    todo = set(names)
    while todo:
        name = todo.pop()
        found.add(name)
        if "/" in name:
            found.add(f"{name.rpartition('/')[0]}/__init__")
        tree = ast.parse((COMMON / f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                package, _, module = node.module.partition(".")
                if package == "common":
                    inside = [module.replace(".", "/")] if module else []
                    inside += [
                        "/".join(filter(None, (module.replace(".", "/"), alias.name)))
                        for alias in node.names
                    ]
                    todo |= {used for used in inside if _is_module(used)} - found
    return found
