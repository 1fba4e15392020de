"""A function.yaml, read once into frozen data: what of Nuclio's format this runtime acts upon.

Everything else in the file is kept as it is and given back in the function object. The meaning and
the defaults of the fields are those of Nuclio 1.14.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from .errors import FunctionBroken
from .units import parse_duration, parse_quantity
from .weights.declared import Conversion, Weight, parse_conversion, parse_weights

JsonObject = dict[str, Any]

EXTRAS_KEY: Final = "x-cvat-lambda"
PROJECT_LABEL: Final = "nuclio.io/project-name"
DEFAULT_NAMESPACE: Final = "nuclio"
DEFAULT_PROJECT: Final = "cvat"  # the one whose functions CVAT, and this app, list
DEFAULT_MAX_BODY: Final = 4 * 2**20  # bytes
DEFAULT_HEADER_LIMIT: Final = 16 * 2**10  # bytes
DEFAULT_AVAILABILITY_TIMEOUT_MS: Final = 10_000
DEFAULT_READINESS_TIMEOUT_S: Final = 120.0

_NAME: Final = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")
_HANDLER: Final = re.compile(r"^[\w-]+(\.[\w-]+)*:\w+$")
_RESERVED: Final = frozenset({"dashboard", "controller", "dlx", "scaler"})
NVIDIA_GPU: Final = "nvidia.com/gpu"  # the resource limit that Nuclio acts upon
_GPU_RESOURCES: Final = ("nvidia.com/", "amd.com/gpu", "gpu.intel.com/")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpTrigger:
    """The one door of a function."""

    name: str
    workers: int  # processes
    availability_timeout_s: float  # how long a call waits for a free worker; 0 = never
    port: int  # 0 = any free one
    max_body: int  # bytes
    header_limit: int  # bytes of the whole request head
    termination_timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What the section ``x-cvat-lambda`` adds; Nuclio ignores it."""

    weights: tuple[Weight, ...] = ()
    conversion: Conversion | None = None
    idle_timeout_s: float | None = None  # scale to zero after it; None = never
    worker_memory: int | None = None  # bytes of resident memory a worker may hold


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionConfig:
    """One function as its file describes it."""

    name: str
    namespace: str
    folder: Path
    handler: str
    python: str | None  # "3.11"; None = any
    env: tuple[tuple[str, str], ...]
    trigger: HttpTrigger
    event_timeout_s: float | None
    readiness_timeout_s: float
    disabled: bool
    extras: Extras
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
    """Return the YAML document of a function.yaml; raises FunctionBroken when it is no mapping."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        reason = " ".join(str(exc).split())
        raise FunctionBroken(f"{path.name} cannot be read: {reason}") from exc
    if not isinstance(document, dict):
        raise FunctionBroken(f"{path.name} must be a mapping with 'metadata' and 'spec'")
    return document


def parse_function(document: Mapping[str, Any], folder: Path) -> FunctionConfig:
    """Turn a document into a FunctionConfig; raises FunctionBroken naming the field at fault."""
    metadata = _mapping(document, "metadata")
    spec = _mapping(document, "spec")
    name = check_name(metadata.get("name"))
    try:
        return FunctionConfig(
            name=name,
            namespace=str(metadata.get("namespace") or DEFAULT_NAMESPACE),
            folder=folder,
            handler=_handler(spec, folder),
            python=_python_version(spec.get("runtime")),
            env=_environment(spec.get("env")),
            trigger=_http_trigger(spec.get("triggers")),
            event_timeout_s=_positive_duration(spec.get("eventTimeout"), "spec.eventTimeout"),
            readiness_timeout_s=float(
                spec.get("readinessTimeoutSeconds") or DEFAULT_READINESS_TIMEOUT_S
            ),
            disabled=bool(spec.get("disable", False)),
            extras=_extras(document.get(EXTRAS_KEY), spec),
            document=with_defaults(document),
        )
    except (TypeError, ValueError) as exc:
        raise FunctionBroken(f"function {name!r}: {exc}") from exc


def with_defaults(document: Mapping[str, Any]) -> JsonObject:
    """Return metadata and spec with the keys that Nuclio always shows."""
    kept: JsonObject = {
        "metadata": copy.deepcopy(dict(document.get("metadata") or {})),
        "spec": copy.deepcopy(dict(document.get("spec") or {})),
    }
    metadata, spec = kept["metadata"], kept["spec"]
    metadata["namespace"] = metadata.get("namespace") or DEFAULT_NAMESPACE
    metadata["labels"] = {PROJECT_LABEL: "default", **(metadata.get("labels") or {})}
    for key in ("resources", "build", "platform", "securityContext"):
        spec[key] = spec.get(key) or {}
    spec.setdefault("eventTimeout", "")
    spec.setdefault("disableDefaultHTTPTrigger", False)
    if not spec.get("triggers"):
        spec["triggers"] = {
            "default-http": {"kind": "http", "name": "default-http", "numWorkers": 1}
        }
    return kept


def gpu_resources(document: Mapping[str, Any]) -> frozenset[str]:
    """Return the GPU resources that a function's limits name, such as ``nvidia.com/gpu``."""
    limits: object = document
    for key in ("spec", "resources", "limits"):
        limits = limits.get(key) if isinstance(limits, Mapping) else None
    names = limits if isinstance(limits, Mapping) else {}
    return frozenset(str(name) for name in names if str(name).startswith(_GPU_RESOURCES))


def in_project(document: Mapping[str, Any], project: str) -> JsonObject:
    """Return the document with a project's label, unless it names a project itself."""
    metadata = dict(document.get("metadata") or {})
    metadata["labels"] = {PROJECT_LABEL: project, **(metadata.get("labels") or {})}
    return {**document, "metadata": metadata}


def check_name(name: object) -> str:
    """Return a function's name; raises FunctionBroken when Nuclio would refuse it."""
    if not isinstance(name, str) or not name:
        raise FunctionBroken("metadata.name is missing")
    if _NAME.match(name) is None:
        raise FunctionBroken(
            f"metadata.name {name!r}: at most 63 letters, digits, '-', '_' and '.', "
            "with a letter or digit at both ends"
        )
    if name in _RESERVED:
        raise FunctionBroken(f"metadata.name {name!r} is reserved by Nuclio: choose another")
    return name


def http_triggers(triggers: object) -> dict[str, JsonObject]:
    """Return the triggers of kind http by their key; raises ValueError when there are two."""
    if triggers is None:
        return {}
    if not isinstance(triggers, dict):
        raise ValueError("spec.triggers must be a mapping")
    found: dict[str, JsonObject] = {}
    for key, trigger in triggers.items():
        if not isinstance(trigger, dict):
            raise ValueError(f"spec.triggers.{key} must be a mapping")
        if trigger.get("kind") == "http":
            if trigger.get("name", key) != key:
                raise ValueError(f"spec.triggers.{key}: its name must be equal to its key")
            found[str(key)] = trigger
    if len(found) > 1:
        raise ValueError("spec.triggers has more than one http trigger: keep one")
    return found


def _mapping(document: Mapping[str, Any], key: str) -> JsonObject:
    value = document.get(key)
    if not isinstance(value, dict):
        raise FunctionBroken(f"{key!r} is missing or is not a mapping")
    return value


def _handler(spec: JsonObject, folder: Path) -> str:
    handler = spec.get("handler") or f"{folder.name}:handler"
    if not isinstance(handler, str) or _HANDLER.match(handler) is None:
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
        # valueFrom needs Kubernetes; Nuclio on Docker leaves such a variable out as well.
        if "value" in item:
            pairs.append((str(item["name"]), _as_text(item["value"])))
    return tuple(pairs)


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _http_trigger(triggers: object) -> HttpTrigger:
    found = http_triggers(triggers) or {"default-http": {}}
    ((name, trigger),) = found.items()
    attributes = trigger.get("attributes") or {}
    workers = int(trigger.get("numWorkers") or trigger.get("maxWorkers") or 1)
    if not 1 <= workers <= 1000:
        raise ValueError(f"spec.triggers.{name}.numWorkers is {workers}: it must be 1 to 1000")
    wait_ms = trigger.get("workerAvailabilityTimeoutMilliseconds")
    if wait_ms is None or int(wait_ms) < 0:
        wait_ms = DEFAULT_AVAILABILITY_TIMEOUT_MS
    port = int(attributes.get("port") or 0)
    if not 0 <= port <= 65535:
        raise ValueError(f"spec.triggers.{name}.attributes.port is {port}: it must be 0 to 65535")
    return HttpTrigger(
        name=name,
        workers=workers,
        availability_timeout_s=int(wait_ms) / 1000,
        port=port,
        max_body=int(attributes.get("maxRequestBodySize") or DEFAULT_MAX_BODY),
        header_limit=int(attributes.get("readBufferSize") or DEFAULT_HEADER_LIMIT),
        termination_timeout_s=_positive_duration(
            trigger.get("workerTerminationTimeout"), "workerTerminationTimeout"
        )
        or 10.0,
    )


def _positive_duration(value: object, field_name: str) -> float | None:
    if value is None or value == "":
        return None
    seconds = parse_duration(str(value))
    if seconds <= 0:
        raise ValueError(f"{field_name} must be longer than 0")
    return seconds


def _extras(extras: object, spec: JsonObject) -> Extras:
    if extras is None:
        extras = {}
    if not isinstance(extras, dict):
        raise ValueError(f"{EXTRAS_KEY} must be a mapping")
    limits = (spec.get("resources") or {}).get("limits") or {}
    memory = extras.get("worker_memory") or limits.get("memory")
    return Extras(
        weights=parse_weights(extras.get("weights")),
        conversion=parse_conversion(extras.get("convert")),
        idle_timeout_s=_positive_duration(extras.get("idle_timeout"), f"{EXTRAS_KEY}.idle_timeout"),
        worker_memory=None if memory is None else parse_quantity(str(memory)),
    )
