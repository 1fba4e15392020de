"""Read the platform's list of functions into the table.

Any number of processes may do this: a conditional UPDATE of the platform's `PlatformCheck` row
lets one of them read in each period. A function whose metadata cannot be used gets a row with the
problem. A function that the platform no longer lists becomes ``missing``, and its row is deleted
after ``CVAT_LAMBDA_FORGET_FUNCTIONS_DAYS``. A platform that does not answer changes nothing.
"""

from __future__ import annotations

import copy
import logging
import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.db import DataError, IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from cvat_lambda import signals
from cvat_lambda.conf import settings
from cvat_lambda.errors import FunctionSpecInvalid, LambdaError
from cvat_lambda.functions.metadata import function_id as id_of
from cvat_lambda.functions.metadata import parse_function, parse_state, revision_of
from cvat_lambda.functions.models import MISSING, NUCLIO, READY, Function, PlatformCheck
from cvat_lambda.functions.platforms import platform

logger = logging.getLogger(__name__)

_CLAIM_S: Final = 60.0  # a process that reads for longer counts as dead
_RETRY_S: Final = 5.0  # the shortest pause before a platform that did not answer is read again
_MAX_MESSAGE: Final = 4000
_first_list_lock: Final = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshResult:
    """The result of reading the platform's list."""

    skipped: bool = False  # another process has just read it or is reading it
    found: int = 0
    changed: tuple[str, ...] = ()  # new or changed
    broken: tuple[str, ...] = ()  # functions whose metadata cannot be used
    missing: tuple[str, ...] = ()  # no longer listed since the last reading
    error: str = ""  # the platform did not answer: a sentence


def refresh(
    force: bool = False, *, max_age_s: float | None = None, timeout_s: float | None = None
) -> RefreshResult:
    """Read the platform's list into the table if the table is older than ``max_age_s``.

    The age is by default a little less than FUNCTIONS_REFRESH_S; ``force`` reads in any case. An
    error of the platform is in the result.
    """
    if max_age_s is None:
        max_age_s = max(settings.FUNCTIONS_REFRESH_S, _RETRY_S) * 0.9
    if not _claim(force, max_age_s):
        check = PlatformCheck.objects.filter(pk=NUCLIO).first()
        return RefreshResult(skipped=True, error=check.error if check is not None else "")
    try:
        listed = platform().functions(timeout_s=timeout_s)
    except LambdaError as exc:
        _release(error=exc.message)
        logger.warning(
            "the functions could not be listed: %s", exc, extra={"action": "refresh_failed"}
        )
        return RefreshResult(error=exc.message)
    except BaseException:
        _release(error="the function platform could not be read")
        raise
    changed = [name for name, raw in listed.items() if store(name, raw)]
    gone = Function.objects.filter(platform=NUCLIO).exclude(state=MISSING)
    vanished = [row for row in gone if row.pk not in listed]
    mark_missing(vanished)
    _forget()
    _release(error="")
    broken = Function.objects.filter(platform=NUCLIO).exclude(problem="")
    return RefreshResult(
        found=len(listed),
        changed=tuple(changed),
        broken=tuple(broken.exclude(state=MISSING).values_list("pk", flat=True)),
        missing=tuple(row.pk for row in vanished),
    )


def read_first_list() -> RefreshResult:
    """Read the platform's list if it has never been read, even while another process reads it.

    This makes the first list after an installation complete. A platform that has just failed to
    answer is not read again: the result has its error.
    """
    with _first_list_lock:
        check = PlatformCheck.objects.filter(pk=NUCLIO).first()
        if check is not None and check.reached_at is not None:
            return RefreshResult(skipped=True)
        if check is not None and check.error and _checked_within(check, _RETRY_S):
            return RefreshResult(skipped=True, error=check.error)
        return refresh(force=True)


def _checked_within(check: PlatformCheck, seconds: float) -> bool:
    at = check.checked_at
    return at is not None and timezone.now() - at < timedelta(seconds=seconds)


def store(name: str, raw: Any) -> bool:
    """Write one function object of the platform into its row; return whether it changed.

    An error in the object affects this row only.
    """
    if id_of(raw) != name:
        logger.warning(
            "a function of the platform has no usable name: %.80r",
            name,
            extra={"action": "function_ignored"},
        )
        return False
    try:
        values = _values(raw)
    except (RecursionError, ValueError, TypeError) as exc:
        logger.warning(
            "function '%s' cannot be read: %r", name, exc, extra={"action": "function_ignored"}
        )
        return False
    try:
        with transaction.atomic():
            row, created = Function.objects.get_or_create(
                pk=name, defaults={"platform": NUCLIO, **values}
            )
    except (IntegrityError, DataError) as exc:
        logger.warning(
            "function '%s' cannot be stored: %s",
            name,
            exc,
            extra={"action": "function_ignored"},
        )
        return False
    if row.platform != NUCLIO:
        logger.warning(
            "function '%s' of the platform is hidden by another function of the same name",
            name,
            extra={"action": "function_hidden"},
        )
        return False
    before = "" if created else row.state
    changed = created or any(getattr(row, key) != value for key, value in values.items())
    row.seen_at = row.checked_at = timezone.now()
    if changed:
        for key, value in values.items():
            setattr(row, key, value)
        row.save()
        if row.problem:
            logger.warning("%s", row.problem, extra={"action": "function_broken", "function": name})
        elif row.message and row.state == READY:
            logger.warning(
                "function '%s': %s",
                name,
                row.message,
                extra={"action": "function_incomplete", "function": name},
            )
    else:
        Function.objects.filter(pk=name).update(seen_at=row.seen_at, checked_at=row.checked_at)
    _notify(name, before, row.state)
    return changed


def mark_missing(
    vanished: Iterable[Function], *, message: str = "the function was removed from its platform"
) -> None:
    """Mark functions that their platform no longer has; their rows stay."""
    for row in vanished:
        before = row.state
        row.state = MISSING
        row.message = message
        row.checked_at = timezone.now()
        row.save()
        _notify(row.pk, before, row.state)


def _forget() -> None:
    """Delete functions that have been missing for long, unless their settings were changed."""
    days = settings.FORGET_FUNCTIONS_DAYS
    if days <= 0:
        return
    gone = Function.objects.filter(
        platform=NUCLIO,
        state=MISSING,
        seen_at__lt=timezone.now() - timedelta(days=days),
        enabled=True,
        timeout_s=None,
    )
    names = list(gone.values_list("pk", flat=True))
    if names:
        gone.delete()
        logger.info(
            "deleted functions that were missing for %d days: %s",
            days,
            ", ".join(names),
            extra={"action": "functions_forgotten"},
        )


def _claim(force: bool, max_age_s: float) -> bool:
    """Claim the right to read the list now; return False if another process has it."""
    now = timezone.now()
    check = PlatformCheck.objects.filter(pk=NUCLIO)
    mine = {"claimed_until": now + timedelta(seconds=_CLAIM_S)}
    if not check.exists():
        PlatformCheck.objects.get_or_create(pk=NUCLIO)
    if force:
        return bool(check.update(**mine))
    failed = ~Q(error="") & Q(checked_at__lt=now - timedelta(seconds=_RETRY_S))
    old = Q(error="") & Q(checked_at__lt=now - timedelta(seconds=max_age_s))
    due = Q(checked_at=None) | old | failed
    free = Q(claimed_until=None) | Q(claimed_until__lt=now)
    return bool(check.filter(due & free).update(**mine))


def _release(*, error: str) -> None:
    now = timezone.now()
    reached = {} if error else {"reached_at": now}
    PlatformCheck.objects.filter(pk=NUCLIO).update(
        claimed_until=None, checked_at=now, error=error, **reached
    )


def _values(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a function's row."""
    kept = _trimmed(raw)
    state, message = parse_state(kept)
    values: dict[str, Any] = {
        "metadata": kept,
        "revision": revision_of(raw),
        "state": state,
        "message": message[:_MAX_MESSAGE],
        "problem": "",
    }
    try:
        spec = parse_function(kept)
    except FunctionSpecInvalid as exc:
        return {**values, "problem": exc.message[:_MAX_MESSAGE]}
    return {
        **values,
        "message": "\n".join(filter(None, (values["message"], *spec.left_out)))[:_MAX_MESSAGE],
        "kind": spec.kind.value,
        "name": spec.name[:256],
        "description": spec.description,
        "version": spec.version,
    }


def _trimmed(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the function object without the source code and the log of the build."""
    kept: dict[str, Any] = copy.deepcopy(
        {key: raw[key] for key in ("metadata", "spec", "status") if key in raw}
    )
    spec, status = kept.get("spec"), kept.get("status")
    if isinstance(spec, dict) and isinstance(spec.get("build"), dict):
        spec["build"].pop("functionSourceCode", None)
    if isinstance(status, dict):
        status.pop("logs", None)
        if isinstance(status.get("message"), str):
            status["message"] = status["message"][:_MAX_MESSAGE]
    return {key: _storable(value) for key, value in kept.items()}


def _storable(value: Any) -> Any:
    """Return a value without what JSON columns cannot hold: NUL, lone surrogates, NaN, infinity."""
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "replace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return value


def _notify(name: str, before: str, after: str) -> None:
    if before and before != after:
        signals.function_state_changed.send_robust(
            sender=Function, function_id=name, before=before, after=after
        )
