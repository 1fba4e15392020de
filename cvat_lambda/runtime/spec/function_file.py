"""Reads a function file: the fields of Nuclio's format that this runtime uses, as frozen data.

All other fields are kept and shown in the function object. Meaning and defaults of the fields are
those of Nuclio 1.14.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from cvat_lambda.runtime.errors import FunctionBroken
from cvat_lambda.runtime.spec.build_lines import read_build_lines
from cvat_lambda.runtime.spec.fields import JsonObject, flag, mapping, seconds, text, to_json
from cvat_lambda.runtime.spec.pip_lines import BuildLines
from cvat_lambda.runtime.spec.quantities import parse_quantity
from cvat_lambda.runtime.spec.triggers import HttpTrigger, parse_trigger, positive_duration
from cvat_lambda.runtime.spec.triggers import http_triggers as http_triggers
from cvat_lambda.runtime.spec.weights import Conversion, Weight, parse_conversion, parse_weights

EXTRAS_KEY: Final = "x-cvat-lambda"
PROJECT_LABEL: Final = "nuclio.io/project-name"
DEFAULT_NAMESPACE: Final = "nuclio"
DEFAULT_PROJECT: Final = "cvat"  # CVAT and this app list the functions of this project
DEFAULT_READINESS_TIMEOUT_S: Final = 120.0
MAX_READINESS_TIMEOUT_S: Final = 7 * 86400.0

_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NAME: Final = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")
_HANDLER: Final = re.compile(r"^[\w-]+(\.[\w-]+)*:\w+$")
_RESERVED: Final = frozenset({"dashboard", "controller", "dlx", "scaler"})
NVIDIA_GPU: Final = "nvidia.com/gpu"  # the name of Nuclio's resource limit
_GPU_RESOURCES: Final = ("nvidia.com/", "amd.com/gpu", "gpu.intel.com/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """The section ``x-cvat-lambda``, which Nuclio ignores."""

    weights: tuple[Weight, ...] = ()
    conversion: Conversion | None = None
    idle_timeout_s: float | None = None  # scale to zero after it; None = never
    worker_memory: int | None = None  # bytes of memory that a worker may use
    network: bool = True  # whether the workers have a network
    threads: bool = False  # whether the workers are threads of one process


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionConfig:
    """The configuration of one function."""

    name: str
    namespace: str
    folder: Path  # it is served from here
    origin: Path  # the original folder; local paths of weights are relative to it
    handler: str
    python: str | None  # "3.11"; None = any
    env: tuple[tuple[str, str], ...]
    trigger: HttpTrigger
    event_timeout_s: float | None
    readiness_timeout_s: float
    disabled: bool
    extras: Extras
    build: BuildLines = field(hash=False)
    document: JsonObject = field(
        hash=False
    )  # {"metadata", "spec"} as given, with Nuclio's defaults

    @property
    def project(self) -> str:
        """The project that the function belongs to."""
        labels = self.document["metadata"].get("labels") or {}
        return str(labels.get(PROJECT_LABEL, "default"))

    @property
    def on_gpu(self) -> bool:
        """Whether its limits name a GPU, as those of a function-gpu.yaml do."""
        return bool(gpu_resources(self.document))


def read_document(path: Path) -> JsonObject:
    """Return the YAML document of a function file; raise FunctionBroken if it is not a mapping."""
    try:
        # Like nuctl, libyaml accepts a tab after a value. The reader in Python does not.
        document = to_json(yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader))
    except Exception as exc:
        # The reader also raises errors of other types, such as for dates that do not exist.
        reason = " ".join(str(exc).split()) or type(exc).__name__
        raise FunctionBroken(f"{path.name} cannot be read: {reason}") from exc
    if not isinstance(document, dict):
        raise FunctionBroken(f"{path.name} must be a mapping with 'metadata' and 'spec'")
    return document


def parse_function(document: Mapping[str, Any], folder: Path) -> FunctionConfig:
    """Return the configuration in a document; raise FunctionBroken naming the faulty field.

    It raises no other error, so that one document cannot affect other functions.
    """
    try:
        plain = to_json(document)
    except Exception as exc:
        raise FunctionBroken(f"the function's document cannot be read: {exc}") from exc
    metadata = _required(plain, "metadata")
    spec = _required(plain, "spec")
    name = check_name(metadata.get("name"))
    try:
        return _parsed(name, metadata, spec, plain, folder)
    except Exception as exc:
        raise FunctionBroken(f"function {name!r}: {exc}") from exc


def _parsed(
    name: str, metadata: JsonObject, spec: JsonObject, document: JsonObject, folder: Path
) -> FunctionConfig:
    for key in ("labels", "annotations"):
        mapping(metadata.get(key), f"metadata.{key}")
    for key in ("resources", "build", "platform", "securityContext"):
        mapping(spec.get(key), f"spec.{key}")
    build = read_build_lines(mapping(spec.get("build"), "spec.build"), folder)
    variables = (*build.variables, *_environment(spec.get("env")))
    readiness = spec.get("readinessTimeoutSeconds") or DEFAULT_READINESS_TIMEOUT_S
    return FunctionConfig(
        name=name,
        namespace=text(metadata.get("namespace"), "metadata.namespace") or DEFAULT_NAMESPACE,
        folder=folder,
        origin=folder,
        handler=_handler(spec, folder),
        python=_python_version(spec.get("runtime")),
        env=variables,
        trigger=parse_trigger(spec.get("triggers")),
        event_timeout_s=positive_duration(spec.get("eventTimeout"), "spec.eventTimeout"),
        readiness_timeout_s=seconds(
            readiness, "spec.readinessTimeoutSeconds", most=MAX_READINESS_TIMEOUT_S
        ),
        disabled=flag(spec.get("disable"), "spec.disable"),
        extras=_extras(document.get(EXTRAS_KEY), spec, dict(variables)),
        build=build,
        document=with_defaults(document),
    )


def with_defaults(document: Mapping[str, Any]) -> JsonObject:
    """Return metadata and spec with the defaults that Nuclio shows."""
    kept: JsonObject = {
        "metadata": copy.deepcopy(dict(document.get("metadata") or {})),
        "spec": copy.deepcopy(dict(document.get("spec") or {})),
    }
    metadata, spec = kept["metadata"], kept["spec"]
    metadata["namespace"] = metadata.get("namespace") or DEFAULT_NAMESPACE
    metadata["labels"] = {PROJECT_LABEL: "default", **_texts(metadata.get("labels"))}
    if metadata.get("annotations"):
        metadata["annotations"] = _texts(metadata["annotations"])
    spec["resources"] = spec.get("resources") or {"requests": {"cpu": "25m", "memory": "1Mi"}}
    for key in ("build", "platform", "securityContext"):
        spec[key] = spec.get(key) or {}
    spec.setdefault("eventTimeout", "")
    spec.setdefault("disableDefaultHTTPTrigger", False)
    if not spec.get("triggers"):
        spec["triggers"] = {
            "default-http": {"kind": "http", "name": "default-http", "numWorkers": 1}
        }
    return kept


def _texts(values: JsonObject | None) -> JsonObject:
    """Return labels or annotations with numbers and booleans as text, as Nuclio has them."""
    return {
        key: _as_text(value) if isinstance(value, (bool, int, float)) else value
        for key, value in (values or {}).items()
    }


def gpu_resources(document: Mapping[str, Any]) -> frozenset[str]:
    """Return the GPU resources that a function's limits name, such as ``nvidia.com/gpu``."""
    limits: object = document
    for key in ("spec", "resources", "limits"):
        limits = limits.get(key) if isinstance(limits, Mapping) else None
    names = limits if isinstance(limits, Mapping) else {}
    return frozenset(str(name) for name in names if str(name).startswith(_GPU_RESOURCES))


def in_project(document: Mapping[str, Any], project: str) -> JsonObject:
    """Return the document with a project's label, unless it names a project itself.

    Raise FunctionBroken when its metadata or their labels are no mappings.
    """
    try:
        metadata = dict(mapping(document.get("metadata"), "metadata"))
        labels = mapping(metadata.get("labels"), "metadata.labels")
    except ValueError as exc:
        raise FunctionBroken(str(exc)) from exc
    metadata["labels"] = {PROJECT_LABEL: project, **labels}
    return {**document, "metadata": metadata}


def check_name(name: object) -> str:
    """Return a function's name; raise FunctionBroken if Nuclio would refuse it."""
    if not isinstance(name, str) or not name:
        raise FunctionBroken("metadata.name is missing")
    if _NAME.fullmatch(name) is None:
        raise FunctionBroken(
            f"metadata.name {name!r}: at most 63 letters, digits, '-', '_' and '.', "
            "with a letter or digit at both ends"
        )
    if name in _RESERVED:
        raise FunctionBroken(f"metadata.name {name!r} is reserved by Nuclio: choose another")
    return name


def _required(document: object, key: str) -> JsonObject:
    value = document.get(key) if isinstance(document, dict) else None
    if not isinstance(value, dict):
        raise FunctionBroken(f"{key!r} is missing or is not a mapping")
    return value


def _handler(spec: JsonObject, folder: Path) -> str:
    handler = spec.get("handler") or f"{folder.name}:handler"
    if not isinstance(handler, str) or _HANDLER.fullmatch(handler) is None:
        raise ValueError(f"spec.handler {handler!r} must look like module:callable")
    return handler


def _python_version(runtime: object) -> str | None:
    name, _, version = str(runtime or "python").partition(":")
    if name != "python":
        raise ValueError(f"spec.runtime {runtime!r}: only python functions run here")
    return version or None


def _environment(env: object) -> tuple[tuple[str, str], ...]:
    if env is None:
        return ()
    if not isinstance(env, list):
        raise ValueError("spec.env must be a list of {name, value}")
    pairs = []
    for item in env:
        if not isinstance(item, dict) or not item.get("name"):
            raise ValueError("spec.env must be a list of {name, value}")
        # valueFrom needs Kubernetes. Nuclio on Docker leaves such a variable out, too.
        if "value" in item:
            pairs.append(_variable(str(item["name"]), _as_text(item["value"])))
    return tuple(pairs)


def _variable(name: str, value: str) -> tuple[str, str]:
    try:
        os.fsencode(name + value)
    except UnicodeEncodeError as exc:
        raise ValueError(f"spec.env: {name!r} holds a value that is not text") from exc
    if "=" in name or "\0" in name + value:
        raise ValueError(f"spec.env: {name!r} cannot be an environment variable with this value")
    return name, value


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _extras(extras: object, spec: JsonObject, variables: Mapping[str, str]) -> Extras:
    given = mapping(extras, EXTRAS_KEY)
    resources = mapping(spec.get("resources"), "spec.resources")
    limits = mapping(resources.get("limits"), "spec.resources.limits")
    memory = given.get("worker_memory") or limits.get("memory")
    return Extras(
        weights=parse_weights(given.get("weights"), variables),
        conversion=parse_conversion(given.get("convert")),
        idle_timeout_s=positive_duration(given.get("idle_timeout"), f"{EXTRAS_KEY}.idle_timeout"),
        worker_memory=None if memory is None else parse_quantity(str(memory)),
        network=_has_network(given.get("network")),
        threads=_has_threads(given.get("workers")),
    )


def _has_threads(value: object) -> bool:
    if value not in (None, "processes", "threads"):
        raise ValueError(f"{EXTRAS_KEY}.workers must be processes or threads, not {value!r}")
    return value == "threads"


def _has_network(value: object) -> bool:
    if value not in (None, "none", "host"):
        raise ValueError(f"{EXTRAS_KEY}.network must be none or host, not {value!r}")
    return value != "none"
