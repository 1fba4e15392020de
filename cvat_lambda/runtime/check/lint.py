"""Finds faults of a function folder without running it, for Nuclio 1.14, 1.15 and CVAT 2.54."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cvat_lambda.runtime.errors import FunctionBroken
from cvat_lambda.runtime.spec.function_file import FunctionConfig, http_triggers

KINDS: Final = ("detector", "interactor", "tracker", "reid")
_DNS_LABEL: Final = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
_ABSOLUTE: Final = re.compile(r"^/(opt|home|root|mnt|data|usr|var|srv|Users)/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault."""

    severe: bool  # False: the function works on some platforms
    text: str


def lint(config: FunctionConfig) -> list[Finding]:
    """Return what is wrong with a function's file and code, errors first."""
    found = [*_file_findings(config), *_annotation_findings(config), *_code_findings(config)]
    return sorted(found, key=lambda finding: not finding.severe)


def _error(text: str) -> Finding:
    return Finding(severe=True, text=text)


def _warning(text: str) -> Finding:
    return Finding(severe=False, text=text)


def _file_findings(config: FunctionConfig) -> Iterator[Finding]:
    spec = config.document["spec"]
    if _DNS_LABEL.match(config.name) is None:
        yield _warning(
            f"metadata.name {config.name!r} is not a DNS label: Kubernetes needs lower case "
            "letters, digits and '-'"
        )
    if not spec.get("description"):
        yield _error("spec.description is missing: CVAT's list of functions breaks without it")
    written_for_nuclio = not (config.folder / "requirements.txt").exists()
    for text in config.build.not_run if written_for_nuclio else ():
        yield _warning(f"the embedded runtime builds no image: {text}")
    build = spec.get("build") or {}
    if build.get("commands") and build.get("directives"):
        yield _error("spec.build has commands and directives: Nuclio ignores the directives then")
    if not spec.get("handler"):
        yield _error("spec.handler is missing: write main:handler")
    triggers = http_triggers(spec.get("triggers"))
    for key, trigger in triggers.items():
        yield from _trigger_findings(f"spec.triggers.{key}", trigger)


def _trigger_findings(where: str, trigger: dict[str, Any]) -> Iterator[Finding]:
    attributes = trigger.get("attributes") or {}
    if "maxRequestBodySize" not in attributes:
        yield _warning(f"{where}.attributes.maxRequestBodySize is missing: 4 MiB is all it takes")
    if "numWorkers" not in trigger or "maxWorkers" not in trigger:
        yield _warning(f"{where}: write both numWorkers and maxWorkers, Nuclio's versions differ")
    if (attributes.get("cors") or {}).get("enabled"):
        yield _error(
            f"{where}.attributes.cors: Nuclio answers calls without an Origin with nothing"
        )
    if (trigger.get("batch") or {}).get("mode") == "enable":
        yield _error(f"{where}.batch: Nuclio's batches lose calls; take a list of images instead")
    if trigger.get("mode") == "async":
        yield _warning(
            f"{where}.mode: only Nuclio 1.15 knows it; elsewhere a worker takes one call at a time"
        )


def _annotation_findings(config: FunctionConfig) -> Iterator[Finding]:
    annotations = config.document["metadata"].get("annotations") or {}
    kind = annotations.get("type")
    if kind not in KINDS:
        yield _error(f"metadata.annotations.type is {kind!r}: one of {', '.join(KINDS)}")
    if kind == "detector":
        try:
            labels_of(config)
        except FunctionBroken as exc:
            yield _error(str(exc))
    if kind == "interactor" and not str(annotations.get("version", "")).isdigit():
        yield _warning("metadata.annotations.version is missing: CVAT disables interactors below 2")
    if kind == "tracker" and not annotations.get("supported_shape_types"):
        yield _warning("metadata.annotations.supported_shape_types is missing: CVAT's page breaks")
    if not re.fullmatch(r"[1-9]\d*", str(annotations.get("max_frames", "1"))):
        yield _error("metadata.annotations.max_frames must be a whole number of at least 1")
    for key, value in annotations.items():
        if not isinstance(value, str):
            yield _error(f"metadata.annotations.{key} must be text: Nuclio refuses the function")


def labels_of(config: FunctionConfig) -> list[dict[str, Any]]:
    """Return the labels of a detector's spec. Raise FunctionBroken if they are not labels."""
    annotations = config.document["metadata"].get("annotations") or {}
    try:
        labels = json.loads(annotations.get("spec") or "")
    except (TypeError, ValueError) as exc:
        raise FunctionBroken(f"metadata.annotations.spec is not JSON: {exc}") from exc
    if not isinstance(labels, list) or not all(
        isinstance(label, dict) and label.get("name") for label in labels
    ):
        raise FunctionBroken("metadata.annotations.spec must be a list of labels with names")
    return labels


def _code_findings(config: FunctionConfig) -> Iterator[Finding]:
    module, _, name = config.handler.partition(":")
    file = config.folder.joinpath(*module.split(".")).with_suffix(".py")
    if not file.is_file():
        yield _error(f"spec.handler is {config.handler}, and there is no {module}.py")
        return
    tree = _parse(file)
    if isinstance(tree, Finding):
        yield tree
        return
    handler = next((node for node in tree.body if _is_function(node, name)), None)
    if handler is not None:
        yield from _return_findings(handler)
    elif name not in _names(tree):
        yield _error(f"{file.name} has no {name!r}, which spec.handler names")
    for path in sorted(config.folder.glob("*.py")):
        yield from _path_findings(path)


def _parse(file: Path) -> ast.Module | Finding:
    try:
        return ast.parse(file.read_text(encoding="utf-8"), file.name)
    except (SyntaxError, UnicodeDecodeError) as exc:
        return _error(f"{file.name} is not valid Python: {exc}")


def _is_function(node: ast.stmt, name: str) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name


def _names(tree: ast.Module) -> set[str]:
    """Return the names that a module has without a function definition: imports, assignments."""
    names = {alias.asname or alias.name for node in ast.walk(tree) for alias in _aliases(node)}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def _aliases(node: ast.AST) -> list[ast.alias]:
    return node.names if isinstance(node, (ast.Import, ast.ImportFrom)) else []


def _return_findings(handler: ast.stmt) -> Iterator[Finding]:
    returns = [node for node in _own_nodes(handler) if isinstance(node, ast.Return)]
    if not returns:
        yield _error("the handler returns nothing: the caller gets the text 'None'")
    for node in returns:
        value = node.value
        if value is None or (isinstance(value, ast.Constant) and value.value is None):
            yield _error(f"line {node.lineno}: the handler returns None, sent as the text 'None'")
        elif isinstance(value, (ast.List, ast.ListComp)):
            yield _error(
                f"line {node.lineno}: the handler returns a list, of which Nuclio 1.14 sends the "
                "first element alone: return context.Response(body=json.dumps(...), ...)"
            )
        elif isinstance(value, ast.Call):
            yield from _response_findings(value)


def _response_findings(call: ast.Call) -> Iterator[Finding]:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if isinstance(given.get("body"), (ast.List, ast.ListComp, ast.Tuple)):
        yield _error(
            f"line {call.lineno}: Response(body=[...]) is sent as Python's repr: use json.dumps"
        )


def _own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a function, except for those of inner functions."""
    for child in ast.iter_child_nodes(function):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        yield child
        yield from _own_nodes(child)


def _path_findings(file: Path) -> Iterator[Finding]:
    tree = _parse(file)
    if isinstance(tree, Finding):
        yield tree
        return
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and _ABSOLUTE.match(node.value)
            and not node.value.startswith("/opt/nuclio")
        ):
            yield _warning(
                f"{file.name} line {node.lineno}: {node.value!r} is an absolute path outside "
                "/opt/nuclio, which no container has"
            )
