"""Look up functions in the table: for the API, background requests and pages.

A look-up is one query by primary key. Each process derives the spec of a row once per change.
`cvat_lambda.functions.background` keeps the table fresh. Look-ups read the table only, with two
exceptions: the first look-up of an installation reads the platform's list, and a look-up for a
person may ask the platform (`Ask`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from enum import Enum
from typing import Any, Final, NamedTuple, cast

from django.db.models import CharField, QuerySet
from django.db.models.functions import Cast
from django.utils import timezone

from cvat_lambda.conf import settings
from cvat_lambda.errors import FunctionNotFound, FunctionSpecInvalid, PlatformUnreachable
from cvat_lambda.functions.health import note_failure, note_success, read_function
from cvat_lambda.functions.metadata import ID_PATTERN, parse_function
from cvat_lambda.functions.models import (
    CALLABLE,
    ENDPOINT,
    MISSING,
    NATIVE,
    NUCLIO,
    Function,
)
from cvat_lambda.functions.refresh import RefreshResult, read_first_list, refresh
from cvat_lambda.functions.spec import Address, Audience, FunctionSpec, State
from cvat_lambda.prepared import PreparedQuery

__all__ = [
    "Ask",
    "RefreshResult",
    "audience_of",
    "get",
    "listed",
    "note_failure",
    "note_success",
    "refresh",
    "rows",
    "spec_of",
    "specs_of",
    "usable_rows",
]

FRESH_S: Final = 1.0  # the platform is not read again within this time
_ROWS_AT_ONCE: Final = 500
_ASK_TIMEOUT_S: Final = 2.0  # the longest time that a person waits for the platform


class Ask(Enum):
    """When a look-up also reads the platform, at most once a second for each function."""

    NEVER = "never"
    IF_NOT_READY = "if the function is unknown or cannot be called"
    ALWAYS = "always"


class Found(NamedTuple):
    """The columns of a row that a look-up reads."""

    changed_at: datetime
    checked_at: datetime
    state: str
    platform: str


_FOUND: Final[PreparedQuery[tuple[Any, ...]]] = PreparedQuery(
    lambda function_id: (
        Function.objects.filter(pk=function_id, enabled=True).order_by().values_list(*Found._fields)
    ),
    str,
)
_lock: Final = threading.Lock()
_specs: Final[dict[str, tuple[datetime, FunctionSpec]]] = {}
_listed: Final[dict[str, tuple[str, FunctionSpec]]] = {}  # with the time of the change as text


def get(function_id: str, *, ask: Ask = Ask.NEVER) -> FunctionSpec:
    """Return a function. Raise FunctionNotFound, or FunctionSpecInvalid that says what is wrong.

    A function that its platform no longer lists has the state ``missing``. ``ask`` says whether
    the platform is asked about this function before the table answers.
    """
    if not ID_PATTERN.fullmatch(function_id):  # no query is needed
        raise FunctionNotFound("there is no function with such a name")
    found = _find(function_id)
    if found is None and not read_first_list().skipped:
        found = _find(function_id)
    if _asks(ask, found) and read_function(function_id):
        found = _find(function_id)
    if found is None:
        raise FunctionNotFound(f"function '{function_id}' was not found")
    with _lock:
        cached = _specs.get(function_id)
    if cached is not None and cached[0] == found.changed_at:
        return cached[1]
    row = Function.objects.filter(pk=function_id, enabled=True).first()
    if row is None:
        raise FunctionNotFound(f"function '{function_id}' was not found")
    return spec_of(row)


def listed(*, ask: bool = False) -> list[FunctionSpec]:
    """Return the functions that can be used, with their states, by id.

    ``ask``: read the platform's list first if it was not read within the last second. The table
    answers when the platform is down. Raise PlatformUnreachable only if the table is empty and
    the platform does not answer.
    """
    if ask and settings.FUNCTIONS_REFRESH_S > 0:
        refresh(max_age_s=FRESH_S, timeout_s=_ASK_TIMEOUT_S)
    found = _usable()
    if not found and _read_first_list():
        found = _usable()
    return found


def usable_rows(*, ask: bool = False) -> QuerySet[Function]:
    """Return the rows of the functions that can be used, by id, for lists in pages.

    ``ask`` and the errors are those of `listed`.
    """
    if ask and settings.FUNCTIONS_REFRESH_S > 0:
        refresh(max_age_s=FRESH_S, timeout_s=_ASK_TIMEOUT_S)
    _read_first_list()
    return rows().filter(enabled=True, problem="")


def specs_of(found: Iterable[tuple[str, datetime]]) -> list[FunctionSpec]:
    """Return the specs of some rows, named by id and ``changed_at``, in one query or none.

    Functions whose metadata cannot be used any more are left out.
    """
    changes = list(found)
    with _lock:
        cached = [(pk, at, _specs.get(pk)) for pk, at in changes]
    specs = {pk: kept[1] for pk, at, kept in cached if kept is not None and kept[0] == at}
    changed = [pk for pk, _ in changes if pk not in specs]
    if changed:
        specs.update(_derive(rows().filter(pk__in=changed)))
    return [specs[pk] for pk, _ in changes if pk in specs]


def _read_first_list() -> bool:
    """Read the platform's list if no function is known. Return whether it was read.

    Raise PlatformUnreachable.
    """
    enabled = rows().filter(enabled=True)
    if enabled.exists():
        return False
    result = read_first_list()
    if result.error and not enabled.exists():
        raise PlatformUnreachable(result.error)
    return True


def _find(function_id: str) -> Found | None:
    row = _FOUND.first(function_id)
    return None if row is None else Found(*row)


def _asks(ask: Ask, found: Found | None) -> bool:
    if ask is Ask.NEVER or settings.FUNCTIONS_REFRESH_S <= 0:
        return False
    if found is None:
        return True
    if ask is Ask.IF_NOT_READY and found.state in CALLABLE:
        return False
    age_s = (timezone.now() - found.checked_at).total_seconds()
    return found.platform == NUCLIO and age_s > FRESH_S


def rows() -> QuerySet[Function]:
    """Return every known function, also the broken and the missing ones."""
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
    elif row.platform == NATIVE:
        spec = replace(spec, address=Address(platform="native"), audience=audience_of(row))
    if row.timeout_s is not None:
        spec = replace(spec, timeout_s=row.timeout_s)
    with _lock:
        _specs[row.pk] = (row.changed_at, spec)
    return spec


def audience_of(row: Function) -> Audience | None:
    """Return who may see a function; None: all users."""
    if not row.private:
        return None
    return Audience(owner_id=row.owner_id, organization_id=row.organization_id)


def _usable() -> list[FunctionSpec]:
    """Return the specs of functions without a problem. Read only rows that have changed."""
    enabled = rows().filter(enabled=True)
    usable = enabled.filter(problem="")
    # As text: to convert thousands of times is most of the work.
    changes = dict(usable.values_list("pk", Cast("changed_at", CharField())))
    with _lock:
        cached = [(pk, at, _listed.get(pk)) for pk, at in changes.items()]
    specs = {pk: found[1] for pk, at, found in cached if found is not None and found[0] == at}
    changed = [pk for pk in changes if pk not in specs]
    for start in range(0, len(changed), _ROWS_AT_ONCE):
        specs.update(_derive(enabled.filter(pk__in=changed[start : start + _ROWS_AT_ONCE])))
    with _lock:
        _listed.clear()
        _listed.update({pk: (changes[pk], spec) for pk, spec in specs.items()})
    return [specs[pk] for pk in changes if pk in specs]


def _derive(changed: QuerySet[Function]) -> Iterator[tuple[str, FunctionSpec]]:
    for row in changed:
        try:
            yield row.pk, spec_of(row)
        except FunctionSpecInvalid:
            continue  # the reason is in the row as soon as it is read again
