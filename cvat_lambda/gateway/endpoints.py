"""Add and remove HTTP endpoints: functions that no platform runs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.db import transaction

from cvat_lambda import signals
from cvat_lambda.errors import (
    FunctionNotFound,
    FunctionSpecInvalid,
    InvalidRequest,
    PlatformError,
    StateConflict,
)
from cvat_lambda.functions.metadata import ID_PATTERN, parse_function, revision_of
from cvat_lambda.functions.models import ENDPOINT, READY, Function
from cvat_lambda.gateway.gateway import get_gateway

MAX_TIMEOUT_S: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint as its author describes it."""

    function_id: str
    url: str
    kind: str
    labels: str = ""  # JSON text, as in a function's ``spec`` annotation
    name: str = ""
    description: str = ""
    token: str = field(default="", repr=False)  # sent as bearer token
    timeout_s: float | None = None
    workers: int = 1
    max_body_bytes: int | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)  # version, max_batch, ...

    def values(self) -> dict[str, Any]:
        """Check the endpoint and return the fields of its row.

        Raise InvalidRequest for a URL that the allow-list does not admit, FunctionSpecInvalid
        for an error in the description.
        """
        if not ID_PATTERN.fullmatch(self.function_id):
            raise InvalidRequest(
                "the id of a function has letters, digits, '_', '.' and '-', at most 128"
            )
        check_url(self.url)
        _check_timeout(self.timeout_s)
        if any(not 33 <= ord(char) <= 126 for char in self.token):
            raise InvalidRequest("the token holds a character that cannot be in an HTTP header")
        metadata = self.metadata()
        spec = parse_function(metadata)
        if spec.left_out:
            raise FunctionSpecInvalid(f"function '{self.function_id}': {spec.left_out[0]}")
        return {
            "kind": spec.kind.value,
            "name": spec.name[:256],
            "description": spec.description,
            "version": spec.version,
            "revision": hashlib.sha256(f"{revision_of(metadata)} {self.url}".encode()).hexdigest()[
                :32
            ],
            "state": READY,
            "message": "",
            "problem": "",
            "metadata": metadata,
            "endpoint_url": self.url,
            "token": self.token,
            "timeout_s": self.timeout_s,
        }

    def metadata(self) -> dict[str, Any]:
        """Return the endpoint as a function object, as a platform describes its functions."""
        known = {"name": self.name or self.function_id, "type": self.kind}
        if self.labels:
            known["spec"] = self.labels
        trigger: dict[str, Any] = {"kind": "http", "numWorkers": self.workers}
        if self.max_body_bytes is not None:
            trigger["attributes"] = {"maxRequestBodySize": self.max_body_bytes}
        return {
            "metadata": {"name": self.function_id, "annotations": {**self.annotations, **known}},
            "spec": {"description": self.description, "triggers": {"http": trigger}},
        }


def save_endpoint(endpoint: Endpoint) -> Function:
    """Add an endpoint, or change the one with this id; return its row.

    Raise what `Endpoint.values` raises, and StateConflict if a function of the platform has
    this id.
    """
    values = endpoint.values()
    with transaction.atomic():
        rows = Function.objects.select_for_update()
        row: Function = rows.get_or_create(
            pk=endpoint.function_id, defaults={"platform": ENDPOINT, **values}
        )[0]
        if row.platform != ENDPOINT:
            raise StateConflict(f"a function of the platform has the id '{row.pk}'; choose another")
        for key, value in values.items():
            setattr(row, key, value)
        row.save()
    _note("saved", row.pk, url=endpoint.url)
    return row


def remove_endpoint(function_id: str) -> None:
    """Remove an endpoint. Raise FunctionNotFound if there is none with this id."""
    deleted, _ = Function.objects.filter(pk=function_id, platform=ENDPOINT).delete()
    if not deleted:
        raise FunctionNotFound(f"there is no endpoint '{function_id[:128]}'")
    _note("removed", function_id)


def _note(action: str, function_id: str, **details: str) -> None:
    signals.action_taken.send_robust(
        sender=Endpoint,
        action=action,
        object_kind="endpoint",
        object_id=function_id,
        details=details,
    )


def check_url(url: str) -> None:
    """Check a URL against the allow-list. A host that cannot be resolved is refused."""
    if len(url) > 2048:
        raise InvalidRequest("the URL of the endpoint is longer than 2048 characters")
    try:
        get_gateway().hosts.allowed_server(url)
    except PlatformError as exc:
        raise InvalidRequest(exc.message) from exc


def endpoint_of(row: Function) -> Endpoint:
    """Return the description from which an endpoint's row was made."""
    annotations = dict(row.metadata.get("metadata", {}).get("annotations", {}))
    trigger = row.metadata.get("spec", {}).get("triggers", {}).get("http", {})
    annotations.pop("type", None)
    return Endpoint(
        function_id=row.pk,
        url=row.endpoint_url,
        kind=row.kind,
        labels=annotations.pop("spec", ""),
        name=annotations.pop("name", ""),
        description=row.description,
        token=row.token,
        timeout_s=row.timeout_s,
        workers=trigger.get("numWorkers", 1),
        max_body_bytes=trigger.get("attributes", {}).get("maxRequestBodySize"),
        annotations=annotations,
    )


def _check_timeout(timeout_s: float | None) -> None:
    if timeout_s is not None and not (math.isfinite(timeout_s) and 0 < timeout_s <= MAX_TIMEOUT_S):
        raise InvalidRequest(f"the time limit must be above 0 and at most {MAX_TIMEOUT_S:g} s")
