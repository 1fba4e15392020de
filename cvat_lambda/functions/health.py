"""Update the row of a function after a call, or when a person looks the function up."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final

from cachetools import TTLCache

from cvat_lambda import signals
from cvat_lambda.conf import settings
from cvat_lambda.errors import (
    FunctionNotFound,
    FunctionUnavailable,
    LambdaError,
    PlatformUnreachable,
)
from cvat_lambda.functions.models import ENDPOINT, MISSING, NATIVE, NUCLIO, Function
from cvat_lambda.functions.platforms import platform
from cvat_lambda.functions.refresh import mark_missing, store
from cvat_lambda.functions.spec import FunctionSpec, State

_PROJECT_LABEL: Final = "nuclio.io/project-name"
_MAX_QUERIES: Final = 32  # queries to the platform for people, per second
_TIMEOUT_S: Final = 2.0  # of one such query
_PAUSE_S: Final = 5.0  # without queries after the platform did not answer
_PLATFORM: Final = "platform"
_lock: Final = threading.Lock()
_asked: Final[TTLCache[str, bool]] = TTLCache(_MAX_QUERIES, 1.0)
_failed: Final[TTLCache[str, bool]] = TTLCache(1, _PAUSE_S)


class RevisionChanged(LambdaError):
    """A revision of the function answered that the registry does not know."""


def note_failure(function_id: str, error: LambdaError) -> None:
    """Read a function again that could not be reached, or that answers with another revision.

    Its address, state or content may have changed. An endpoint counts as unhealthy until a call
    to it succeeds. Other errors change nothing.
    """
    if not isinstance(error, PlatformUnreachable | FunctionUnavailable | RevisionChanged):
        return
    row = Function.objects.filter(pk=function_id).first()
    if row is None or row.platform == NATIVE:  # its agents report themselves
        return
    if row.platform == ENDPOINT:
        _set_state(row, "unhealthy", error.message)
        return
    _read(function_id, None)


def forget_queries() -> None:
    """Allow the next query to the platform at once."""
    with _lock:
        _asked.clear()
        _failed.clear()


def read_function(function_id: str) -> bool:
    """Read one function from its platform for a person who waits; return whether it was read.

    Each process sends at most `_MAX_QUERIES` queries a second, however many unknown names people
    ask for. A platform that does not answer gets one query in `_PAUSE_S` seconds.
    """
    with _lock:
        if function_id in _asked or len(_asked) >= _MAX_QUERIES or _PLATFORM in _failed:
            return False
        _asked[function_id] = True
    return _read(function_id, _TIMEOUT_S)


def _read(function_id: str, timeout_s: float | None) -> bool:
    try:
        raw = platform().function(function_id, timeout_s=timeout_s)
    except FunctionNotFound:
        mark_missing(
            Function.objects.filter(pk=function_id, platform=NUCLIO).exclude(state=MISSING)
        )
        return True
    except LambdaError:  # the whole platform does not answer; the rows stay as they are
        with _lock:
            _failed[_PLATFORM] = True
        return False
    if not (_is_ours(raw) or Function.objects.filter(pk=function_id).exists()):
        return False
    store(function_id, raw)
    return True


def _is_ours(raw: Mapping[str, Any]) -> bool:
    """Return whether a function belongs to the project whose functions the registry holds."""
    metadata = raw.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, Mapping) else None
    project = labels.get(_PROJECT_LABEL) if isinstance(labels, Mapping) else None
    return settings.PLATFORM_PROJECT in ("", project)


def note_success(spec: FunctionSpec) -> None:
    """Note that an endpoint answers again. This costs nothing for a function that is ready."""
    if spec.state == "unhealthy" and spec.address.platform == "endpoint":
        row = Function.objects.filter(pk=spec.id).first()
        if row is not None:
            _set_state(row, "ready", "")


def _set_state(row: Function, state: State, message: str) -> None:
    before = row.state
    if (before, row.message) != (state, message):
        row.state, row.message = state, message
        row.save()
    if before != state:
        signals.function_state_changed.send_robust(
            sender=Function, function_id=row.pk, before=before, after=state
        )
