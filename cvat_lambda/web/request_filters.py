"""The filters of the list of requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.utils import timezone

from cvat_lambda.requests.store.models import Request, Status
from cvat_lambda.requests.store.queries import on_task

STATES: Final[Mapping[str, str]] = {
    "": "any state",
    "queued": "queued",
    "started": "started",
    "finished": "finished",
    "partly": "finished with failed frames",
    "failed": "failed",
    "cancelled": "cancelled",
    "undone": "undone",
}
PERIODS: Final[Mapping[str, str]] = {
    "": "any time",
    "1": "the last hour",
    "24": "the last day",
    "168": "the last 7 days",
    "720": "the last 30 days",
}
Rows = QuerySet[Request]


def filtered(found: Rows, parameters: Mapping[str, str]) -> Rows:
    """Return the requests that match the query string; values that make no sense match nothing."""
    for name, condition in _CONDITIONS.items():
        value = parameters.get(name, "").strip()
        if value:
            found = condition(found, value.replace("\x00", ""))
    return found


def is_filtered(parameters: Mapping[str, str]) -> bool:
    """Return whether the query string has a filter."""
    return any(parameters.get(name, "").strip() for name in _CONDITIONS)


def _state(found: Rows, value: str) -> Rows:
    if value == "partly":
        return found.filter(status=Status.FINISHED, failed__gt=0)
    if value == "undone":
        return found.filter(undone_at__isnull=False)
    return found.filter(status=value)


def _task(found: Rows, value: str) -> Rows:
    number = value.removeprefix("#")
    return on_task(found, int(number)) if _is_id(number) else found.none()


def _owner(found: Rows, value: str) -> Rows:
    users = get_user_model()
    named = users._default_manager.filter(**{users.USERNAME_FIELD: value})
    owner_id = named.values_list("pk", flat=True).first()
    return found.none() if owner_id is None else found.filter(owner_id=owner_id)


def _period(found: Rows, value: str) -> Rows:
    if value not in PERIODS:
        return found.none()
    return found.filter(created_at__gte=timezone.now() - timedelta(hours=int(value)))


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19


_CONDITIONS: Final[Mapping[str, Callable[[Rows, str], Rows]]] = {
    "state": _state,
    "function": lambda found, value: found.filter(function_id=value),
    "task": _task,
    "owner": _owner,
    "period": _period,
}
