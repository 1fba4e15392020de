"""Turn the untrusted metadata of a function into a `FunctionSpec`, or say what is wrong.

The input is Nuclio's function object (``metadata``, ``spec``, ``status``; Nuclio 1.14.1). What
the app reads is in ``metadata.annotations``, as CVAT's functions write it (CVAT 2.54):
``type``, ``name``, ``spec`` (labels as JSON text), ``version``, the interactor's and the tracker's
keys; and this project's optional ones: ``embedding``, ``keeps_embeddings``, ``binary``,
``prompts``, ``max_batch``, ``max_frames``, ``accepts``, ``max_image_side``. Only ``metadata.name``
and the annotation ``type`` are required.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from cvat_lambda.annotations.errors import SpecError
from cvat_lambda.annotations.labels import parse_function_labels
from cvat_lambda.annotations.text import brief
from cvat_lambda.annotations.types import ShapeType
from cvat_lambda.errors import FunctionSpecInvalid
from cvat_lambda.functions.durations import parse_duration
from cvat_lambda.functions.spec import Address, FunctionSpec, InteractorSpec, Kind, State

ID_PATTERN: Final = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
LEGACY_SHAPE_TYPES: Final = ("rectangle",)  # of a tracker that declares none
MAX_BODY_BYTES: Final = 4_194_304  # Nuclio's default maxRequestBodySize
AVAILABILITY_TIMEOUT_S: Final = 10.0  # Nuclio's default
_SHAPE_TYPES: Final = frozenset(get_args(ShapeType))
_KINDS: Final = ", ".join(kind.value for kind in Kind)
PROMPTS: Final = ("text", "exemplar")
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
_LARGEST_INT: Final = 1 << 31  # of a number in metadata, so that it fits a database column

REVISION_ANNOTATION: Final = "cvat-lambda/revision"
_REVISION: Final = re.compile(r"[0-9A-Za-z._:-]{1,64}")

# The states of Nuclio 1.14.1. A state that is not listed counts as `building`.
STATES: Final[Mapping[str, State]] = {
    "ready": "ready",
    "waitingForBuild": "building",
    "building": "building",
    "waitingForResourceConfiguration": "building",
    "configuringResources": "building",
    "error": "error",
    "imported": "error",  # stored, but never deployed
    "unhealthy": "unhealthy",
    "scaledToZero": "scaled_to_zero",
    "waitingForScaleResourceToZero": "scaled_to_zero",
    "waitingForScaleResourceFromZero": "scaled_to_zero",
}

# Fields of the spec that say nothing about the function's content.
_VOLATILE_SPEC: Final = frozenset(
    {"replicas", "minReplicas", "maxReplicas", "resources", "disable"}
)


class _Problem(Exception):
    """An error in the metadata, as the end of a sentence that begins with the function's name."""


def function_id(raw: object) -> str | None:
    """Return the id of a function object, or None if it has no usable one."""
    metadata = raw.get("metadata") if isinstance(raw, Mapping) else None
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return name if isinstance(name, str) and ID_PATTERN.fullmatch(name) else None


def parse_function(raw: object) -> FunctionSpec:
    """Read a function object. Raise FunctionSpecInvalid with a sentence that names the field."""
    name = function_id(raw)
    if name is None or not isinstance(raw, Mapping):
        raise FunctionSpecInvalid(
            "a function has no usable name; use letters, digits, '_', '.' and '-', at most 128"
        )
    try:
        return _Reader(
            annotations=_object(_object(raw, "metadata"), "annotations"), raw=raw
        ).function(name)
    except (_Problem, SpecError) as exc:
        raise FunctionSpecInvalid(f"function '{name}': {exc}") from exc


def parse_state(raw: Mapping[str, Any]) -> tuple[State, str]:
    """Return a function object's state and the platform's message about it."""
    status = raw.get("status")
    if not isinstance(status, Mapping):
        return "ready", ""  # Nuclio's export has no status
    message = status.get("message")
    text = message if isinstance(message, str) else ""
    spec = raw.get("spec")
    if isinstance(spec, Mapping) and spec.get("disable") is True:
        return "error", "the function is switched off on its platform"
    word = status.get("state")
    if word == "imported" and not text:
        text = "the function was imported and has not been deployed yet"
    return STATES.get(word, "building") if isinstance(word, str) and word else "ready", text


def revision_of(raw: Mapping[str, Any]) -> str:
    """Return what identifies the content of a function: its code, environment and weights.

    The embedded runtime states it in the annotation `REVISION_ANNOTATION`. For other platforms it
    is a hash of the annotations, the spec (with the source code and the build's timestamp, where
    the platform gives them) and the name of the image.
    """
    metadata, spec, status = (_lenient(raw, key) for key in ("metadata", "spec", "status"))
    stated = _lenient(metadata, "annotations").get(REVISION_ANNOTATION)
    if isinstance(stated, str) and _REVISION.fullmatch(stated):
        return stated
    content = {
        "annotations": metadata.get("annotations"),
        "spec": {key: value for key, value in spec.items() if key not in _VOLATILE_SPEC},
        "image": status.get("containerImage"),
    }
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """Reads one function object."""

    annotations: Mapping[str, Any]
    raw: Mapping[str, Any]

    def function(self, name: str) -> FunctionSpec:
        spec, trigger = _object(self.raw, "spec"), self.http_trigger()
        attributes = _object(trigger, "attributes")
        kind = self.kind()
        left_out: list[str] = []
        labels = parse_function_labels(self.annotations.get("spec"), left_out)
        shape_types = self.shape_types()
        state, message = parse_state(self.raw)
        return FunctionSpec(
            id=name,
            kind=kind,
            name=self.text("name") or name,
            description=_text(spec.get("description"), "spec.description"),
            version=self.integer("version", 1, lowest=0),
            revision=revision_of(self.raw),
            labels=labels,
            left_out=tuple(left_out),
            interactor=self.interactor() if kind is Kind.INTERACTOR else None,
            supported_shape_types=(
                (shape_types or LEGACY_SHAPE_TYPES) if kind is Kind.TRACKER else ()
            ),
            legacy_tracker=kind is Kind.TRACKER and not shape_types,
            embedding=self.boolean("embedding"),
            keeps_embeddings=self.boolean("keeps_embeddings"),
            binary=self.boolean("binary"),
            prompts=self.prompts() if kind is Kind.DETECTOR else (),
            max_batch=self.integer("max_batch", 1, lowest=1),
            max_frames=self.integer("max_frames", 1, lowest=1),
            accepts=tuple(word.lower() for word in self.words("accepts")),
            max_image_side=self.integer("max_image_side", 0, lowest=0) or None,
            workers=_workers(trigger) * _replicas(spec),
            max_body_bytes=_integer(
                attributes.get("maxRequestBodySize"), "maxRequestBodySize", MAX_BODY_BYTES, lowest=1
            ),
            availability_timeout_s=_availability_timeout_s(trigger),
            timeout_s=_event_timeout_s(spec),
            state=state,
            state_message=message,
            address=_address(self.raw),
        )

    def kind(self) -> Kind:
        text = self.text("type")
        if not text:
            raise _Problem(f"the annotation 'type' is missing; it is one of {_KINDS}")
        try:
            return Kind(text)
        except ValueError:
            raise _Problem(f"type {brief(text)} is not known; it is one of {_KINDS}") from None

    def interactor(self) -> InteractorSpec:
        return InteractorSpec(
            min_pos_points=self.integer("min_pos_points", 1, lowest=-1),
            min_neg_points=self.integer("min_neg_points", -1, lowest=-1),
            startswith_box=self.boolean("startswith_box"),
            startswith_box_optional=self.boolean("startswith_box_optional"),
            help_message=self.text("help_message"),
            animated_gif=self.text("animated_gif"),
        )

    def shape_types(self) -> tuple[str, ...]:
        words = self.words("supported_shape_types")
        unknown = sorted(set(words) - _SHAPE_TYPES)
        if unknown:
            known = ", ".join(sorted(_SHAPE_TYPES))
            raise _Problem(
                f"supported_shape_types names {brief(unknown[0])}; known types are {known}"
            )
        return words

    def prompts(self) -> tuple[str, ...]:
        words = self.words("prompts")
        for word in words:
            if word not in PROMPTS:
                raise _Problem(f"prompts names {brief(word)}; it may name {' and '.join(PROMPTS)}")
        return words

    def http_trigger(self) -> Mapping[str, Any]:
        for trigger in _object(_object(self.raw, "spec"), "triggers").values():
            if isinstance(trigger, Mapping) and trigger.get("kind") == "http":
                return trigger
        return {}

    def text(self, key: str) -> str:
        """Read a text. A number or a truth value becomes text, as in Nuclio."""
        value = self.annotations.get(key)
        if isinstance(value, bool):
            value = str(value).lower()
        elif isinstance(value, int | float):
            value = str(value)
        return _text(value, f"the annotation '{key}'")

    def integer(self, key: str, default: int, *, lowest: int) -> int:
        return _integer(self.annotations.get(key), key, default, lowest=lowest)

    def boolean(self, key: str) -> bool:
        value = self.annotations.get(key)
        if value is None or value == "":
            return False
        known = _BOOLEANS.get(str(value).strip().lower()) if isinstance(value, str | int) else None
        if known is None:
            raise _Problem(f"{key} is {brief(value)}; it is one of true, false, 1, 0")
        return known

    def words(self, key: str) -> tuple[str, ...]:
        """Read a list that is written as a JSON array or with commas between the words."""
        value = self.annotations.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str):
            if value.lstrip().startswith("["):
                try:
                    value = json.loads(value)
                except (ValueError, RecursionError) as exc:
                    raise _Problem(f"{key} is not a valid JSON array") from exc
            else:
                value = value.split(",")
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise _Problem(f"{key} must be words with commas between them")
        return tuple(dict.fromkeys(item.strip() for item in value if item.strip()))


def _workers(trigger: Mapping[str, Any]) -> int:
    for key in ("numWorkers", "maxWorkers"):
        count = _integer(trigger.get(key), key, 0, lowest=0)
        if count:
            return count
    return 1


def _replicas(spec: Mapping[str, Any]) -> int:
    """Return the number of replicas at rest; a function that scales to zero counts as one."""
    for key in ("replicas", "minReplicas"):
        count = _integer(spec.get(key), key, 0, lowest=0)
        if count:
            return count
    return 1


def _availability_timeout_s(trigger: Mapping[str, Any]) -> float:
    key = "workerAvailabilityTimeoutMilliseconds"
    milliseconds = _integer(trigger.get(key), key, -1, lowest=-_LARGEST_INT)
    return AVAILABILITY_TIMEOUT_S if milliseconds < 0 else milliseconds / 1000


def _event_timeout_s(spec: Mapping[str, Any]) -> float | None:
    text = _text(spec.get("eventTimeout"), "spec.eventTimeout")
    if not text:
        return None
    try:
        seconds = parse_duration(text)
    except ValueError as exc:
        raise _Problem(f"eventTimeout {brief(text)} is not a duration such as 30s") from exc
    if seconds <= 0:
        raise _Problem(f"eventTimeout {brief(text)} must be longer than zero")
    return seconds


def _address(raw: Mapping[str, Any]) -> Address:
    """Return the function's addresses in the platform's status; malformed ones are left out."""
    status = _lenient(raw, "status")
    namespace = _lenient(raw, "metadata").get("namespace")
    port = status.get("httpPort")
    usable = isinstance(port, int) and not isinstance(port, bool) and 0 < port < 65536
    return Address(
        platform="nuclio",
        namespace=namespace if isinstance(namespace, str) else "",
        http_port=port if usable else None,
        internal_urls=_strings(status.get("internalInvocationUrls")),
        external_urls=_strings(status.get("externalInvocationUrls")),
    )


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(item for item in value if isinstance(item, str) and item)


def _lenient(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, Mapping) else {}


def _object(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = parent.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _Problem(f"{key} must be an object")
    return value


def _text(value: object, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _Problem(f"{where} must be text")
    return value


def _integer(value: object, key: str, default: int, *, lowest: int) -> int:
    if value is None or value == "":
        return default
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,10}\s*", value, re.ASCII):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Problem(f"{key} is {brief(value)}; it must be a whole number")
    if not lowest <= value < _LARGEST_INT:
        raise _Problem(f"{key} is {value}; it must be at least {lowest} and below 2^31")
    return value
