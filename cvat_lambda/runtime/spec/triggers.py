"""The HTTP trigger of a function file: workers, port, limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cvat_lambda.runtime.spec.fields import JsonObject, mapping, whole
from cvat_lambda.runtime.spec.quantities import parse_duration

DEFAULT_MAX_BODY: Final = 4 * 2**20  # bytes
MAX_BODY: Final = 2**30 - 2**20  # bytes; the limit of a frame to a worker
DEFAULT_HEADER_LIMIT: Final = 16 * 2**10  # bytes
DEFAULT_AVAILABILITY_TIMEOUT_MS: Final = 10_000
_ANY_AMOUNT: Final = 2**40


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpTrigger:
    """How a function is called."""

    name: str
    workers: int  # processes
    availability_timeout_s: float  # how long a call waits for a free worker; 0 = never
    port: int  # 0 = any free one
    max_body: int  # bytes
    header_limit: int  # bytes of the whole request head
    termination_timeout_s: float


def http_triggers(triggers: object) -> dict[str, JsonObject]:
    """Return the triggers of kind http by their key; raise ValueError for two."""
    found: dict[str, JsonObject] = {}
    for key, trigger in mapping(triggers, "spec.triggers").items():
        if not isinstance(trigger, dict):
            raise ValueError(f"spec.triggers.{key} must be a mapping")
        if trigger.get("kind") == "http":
            if trigger.get("name", key) != key:
                raise ValueError(f"spec.triggers.{key}: its name must be equal to its key")
            found[str(key)] = trigger
    if len(found) > 1:
        raise ValueError("spec.triggers has more than one http trigger: keep one")
    return found


def parse_trigger(triggers: object) -> HttpTrigger:
    """Return the one http trigger, or Nuclio's default one; raise ValueError."""
    found = http_triggers(triggers) or {"default-http": {}}
    ((name, trigger),) = found.items()
    where = f"spec.triggers.{name}"
    attributes = mapping(trigger.get("attributes"), f"{where}.attributes")
    mapping(attributes.get("cors"), f"{where}.attributes.cors")
    mapping(trigger.get("batch"), f"{where}.batch")
    workers = trigger.get("numWorkers") or trigger.get("maxWorkers") or 1
    return HttpTrigger(
        name=name,
        workers=whole(workers, f"{where}.numWorkers", least=1, most=1000),
        availability_timeout_s=_availability_ms(trigger, where) / 1000,
        port=whole(attributes.get("port") or 0, f"{where}.attributes.port", least=0, most=65535),
        max_body=min(_bytes(attributes, "maxRequestBodySize", where) or DEFAULT_MAX_BODY, MAX_BODY),
        header_limit=_bytes(attributes, "readBufferSize", where) or DEFAULT_HEADER_LIMIT,
        termination_timeout_s=positive_duration(
            trigger.get("workerTerminationTimeout"), "workerTerminationTimeout"
        )
        or 10.0,
    )


def _availability_ms(trigger: JsonObject, where: str) -> int:
    field_name = "workerAvailabilityTimeoutMilliseconds"
    given = trigger.get(field_name)
    if given is None:
        return DEFAULT_AVAILABILITY_TIMEOUT_MS
    wait_ms = whole(given, f"{where}.{field_name}", least=-_ANY_AMOUNT, most=_ANY_AMOUNT)
    return wait_ms if wait_ms >= 0 else DEFAULT_AVAILABILITY_TIMEOUT_MS


def _bytes(attributes: JsonObject, key: str, where: str) -> int:
    return whole(attributes.get(key) or 0, f"{where}.attributes.{key}", least=0, most=_ANY_AMOUNT)


def positive_duration(value: object, field_name: str) -> float | None:
    """Return the seconds of a Go duration, None if none is given; raise ValueError."""
    if value is None or value == "":
        return None
    seconds = parse_duration(str(value))
    if seconds <= 0:
        raise ValueError(f"{field_name} must be longer than 0")
    return seconds
