"""The functions there are: what API, requests and pages ask, answered from the table.

A look-up is one query by primary key. Each process derives the spec of a row once per change.
`cvat_lambda.functions.background` keeps the table fresh. Look-ups read the table only, except
when the platform has never been read: then they read it once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final, cast

from django.db.models import QuerySet

from cvat_lambda.errors import FunctionNotFound, FunctionSpecInvalid, PlatformUnreachable
from cvat_lambda.functions.health import note_failure, note_success
from cvat_lambda.functions.metadata import ID_PATTERN, parse_function
from cvat_lambda.functions.models import ENDPOINT, MISSING, Function
from cvat_lambda.functions.refresh import RefreshResult, read_first_list, refresh
from cvat_lambda.functions.spec import Address, FunctionSpec, State

__all__ = [
    "RefreshResult",
    "get",
    "listed",
    "note_failure",
    "note_success",
    "refresh",
    "rows",
    "spec_of",
]

_lock: Final = threading.Lock()
_specs: Final[dict[str, tuple[datetime, FunctionSpec]]] = {}


def get(function_id: str) -> FunctionSpec:
    """Return a function. Raise FunctionNotFound, or FunctionSpecInvalid saying what is wrong.

    A function that is in the table no more (or not yet: the platform is asked once) is not found;
    one that has vanished from its platform is given with its state ``missing``.
    """
    if not ID_PATTERN.fullmatch(function_id):  # not even a question for the database
        raise FunctionNotFound("there is no function with such a name")
    known = Function.objects.filter(pk=function_id, enabled=True)
    changed_at = known.values_list("changed_at", flat=True).first()
    if changed_at is None and not read_first_list().skipped:
        changed_at = known.values_list("changed_at", flat=True).first()
    if changed_at is None:
        raise FunctionNotFound(f"function '{function_id}' was not found")
    with _lock:
        cached = _specs.get(function_id)
    if cached is not None and cached[0] == changed_at:
        return cached[1]
    row = known.first()
    if row is None:
        raise FunctionNotFound(f"function '{function_id}' was not found")
    return spec_of(row)


def listed() -> list[FunctionSpec]:
    """Return the functions that can be used, with their states, by id.

    It answers from the table when the platform is down. Raises PlatformUnreachable only where
    nothing at all is known yet and the platform does not answer.
    """
    found = list(rows().filter(enabled=True))
    if not found:
        result = read_first_list()
        found = list(rows().filter(enabled=True))
        if not found and result.error:
            raise PlatformUnreachable(result.error)
    return list(_usable(found))


def rows() -> QuerySet[Function]:
    """Every function known, the broken and the vanished ones too."""
    found: QuerySet[Function] = Function.objects.order_by("id")
    return found


def spec_of(row: Function) -> FunctionSpec:
    """Derive a row's spec, from the cache if it has not changed. Raise FunctionSpecInvalid."""
    with _lock:
        cached = _specs.get(row.pk)
    if cached is not None and cached[0] == row.changed_at:
        return cached[1]
    spec = replace(
        parse_function(row.metadata),
        revision=row.revision,
        state=cast(State, row.state),
        missing_since=row.seen_at if row.state == MISSING else None,
    )
    if row.platform == ENDPOINT:
        address = Address(platform="endpoint", endpoint_url=row.endpoint_url, token=row.token)
        spec = replace(spec, address=address)
    if row.timeout_s is not None:
        spec = replace(spec, timeout_s=row.timeout_s)
    with _lock:
        _specs[row.pk] = (row.changed_at, spec)
    return spec


def _usable(found: Iterable[Function]) -> Iterable[FunctionSpec]:
    for row in found:
        if row.problem:
            continue
        try:
            yield spec_of(row)
        except FunctionSpecInvalid:
            continue  # the reason is in the row as soon as it is read again
