"""Turn the response of a function into a parsed answer or one typed error.

`read_answer` applies the first fitting rule of `error_rules`. Messages are sentences for people.
Addresses and tracebacks go to the log only.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final, NoReturn

from cvat_lambda.annotations import mask_text
from cvat_lambda.errors import (
    FunctionAnswerInvalid,
    FunctionCrashed,
    FunctionTimeout,
    LambdaError,
    PlatformUnreachable,
)
from cvat_lambda.functions.spec import FunctionSpec, Kind
from cvat_lambda.gateway.error_rules import (
    CRASHED,
    ERROR_RULES,
    TOO_SLOW,
    UNREACHABLE,
    ResponseFacts,
)
from cvat_lambda.gateway.http import (
    Answer,
    AnswerMalformed,
    AnswerTimeout,
    ConnectFailed,
    ConnectionLost,
    TransportError,
)
from cvat_lambda.gateway.payload import BINARY_TYPE, DamagedBody, decode_binary

logger = logging.getLogger(__name__)

_LOGGED: Final = 16_000  # characters of a body
_DASHBOARD: Final = "Failed to invoke function:"
TRANSPORT: Final[dict[type[TransportError], tuple[type[LambdaError], str]]] = {
    ConnectFailed: (PlatformUnreachable, UNREACHABLE),
    ConnectionLost: (FunctionCrashed, CRASHED),
    AnswerTimeout: (FunctionTimeout, TOO_SLOW),
    AnswerMalformed: (FunctionAnswerInvalid, "sent an answer that is not HTTP or is too large"),
}


def read_answer(spec: FunctionSpec, answer: Answer, *, sent_bytes: int, platform: bool) -> Any:
    """Return the function's parsed answer, or raise the error that the first fitting rule makes.

    ``platform``: the answer came through the dashboard, which may answer for itself.
    """
    if answer.status == 200 and answer.body:
        return parse_answer(spec.id, answer.body, parse=_parser(spec, answer))
    facts = facts_of(spec, answer, sent_bytes=sent_bytes, platform=platform)
    rule = next(rule for rule in ERROR_RULES if rule.fits(facts))
    error = rule.make(facts)
    logger.log(
        rule.level,
        "function '%s' answered %d (%s): %s",
        spec.id,
        answer.status,
        rule.name,
        facts.text[:_LOGGED],
        extra={"action": "function_error", "function": spec.id, "code": error.code},
    )
    raise error


def _parser(spec: FunctionSpec, answer: Answer) -> Callable[..., Any]:
    if spec.binary and answer.headers.get("content-type", "").startswith(BINARY_TYPE):
        return partial(decode_binary, allow_bytes=spec.kind is Kind.INTERACTOR)
    return mask_text.parse if spec.kind is Kind.INTERACTOR else json.loads


def parse_answer(function: str, body: bytes, *, parse: Callable[..., Any] = json.loads) -> Any:
    """Parse a body as strict JSON whatever its content type says. Raise FunctionAnswerInvalid."""
    try:
        return parse(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        reason = f": {exc}" if isinstance(exc, (_ConstantError, DamagedBody)) else ""
        raise FunctionAnswerInvalid(
            f"function '{function}': the answer is not valid JSON{reason}"
        ) from exc


def translate(function: str, exc: TransportError) -> LambdaError:
    """Translate a failure of the transport; the address in it goes to the log only."""
    logger.warning(
        "function '%s': %s", function, exc, extra={"action": "call_failed", "function": function}
    )
    error, sentence = TRANSPORT[type(exc)]
    return error(f"function '{function}' {sentence}")


class _ConstantError(ValueError):
    """A constant that JSON does not have."""


def _refuse_constant(name: str) -> NoReturn:
    raise _ConstantError(f"it holds {name}")


def facts_of(
    spec: FunctionSpec, answer: Answer, *, sent_bytes: int, platform: bool
) -> ResponseFacts:
    text = answer.body[: 1 << 16].decode("utf-8", "replace").strip()
    return ResponseFacts(
        function=spec.id,
        kind=spec.kind,
        status=answer.status,
        text=text,
        platform_says=_platform_says(text) if platform else "",
        sent_bytes=sent_bytes,
        max_body_bytes=spec.max_body_bytes,
        retry_after_s=_retry_after_s(answer.headers),
    )


def _platform_says(text: str) -> str:
    # Not parsed: the dashboard writes this JSON by hand and may leave it invalid.
    position = text.find(_DASHBOARD)
    if not text.startswith("{") or position < 0:
        return ""
    return text[position + len(_DASHBOARD) :].rstrip('"}').strip()


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After (RFC 9110, 10.2.3): seconds, or a date relative to the answer's Date."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        return float(text)
    until = _date(text)
    if until is None:
        return None
    now = _date(headers.get("date", "")) or datetime.now(timezone.utc)
    return max(0.0, (until - now).total_seconds())


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)
