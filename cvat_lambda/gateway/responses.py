"""What came back from a function, as a parsed answer or as one typed error.

`read_answer` applies the first matching rule of the table `ERROR_RULES`. The facts are those of
Nuclio 1.14.1 (processor, Python wrapper, dashboard, DLX) and nginx in front of it.
Messages are sentences for people: no addresses, no traces; those go to the log.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Final, NoReturn

from cvat_lambda.annotations import mask_text
from cvat_lambda.errors import (
    FunctionAnswerInvalid,
    FunctionBusy,
    FunctionCrashed,
    FunctionFailed,
    FunctionNotFound,
    FunctionRejected,
    FunctionTimeout,
    FunctionUnavailable,
    LambdaError,
    PayloadTooLarge,
    PlatformUnreachable,
)
from cvat_lambda.functions.spec import FunctionSpec, Kind
from cvat_lambda.gateway.http import (
    Answer,
    AnswerMalformed,
    AnswerTimeout,
    ConnectFailed,
    ConnectionLost,
    TransportError,
)

logger = logging.getLogger(__name__)

_SHOWN: Final = 300  # characters of a function's own sentence that people see
_LOGGED: Final = 16_000
_HANDLER_ERROR: Final = re.compile(r'Exception caught in handler - "(.*?)"(?:: |:\n|\s*$)', re.S)
_DASHBOARD: Final = "Failed to invoke function:"
_TIMED_OUT: Final = re.compile(
    r"deadline exceeded|Client\.Timeout|timed out|i/o timeout|no answer within", re.I
)
_BROKEN_OFF: Final = re.compile(
    r"\bEOF\b|connection reset|broken pipe|(Client|Server) disconnected", re.I
)
_ADDRESS: Final = re.compile(
    r"""[a-z][a-z0-9+.-]*://[^\s'"]+            # a URL
    |   \b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b    # an IPv4 address, with or without a port
    |   \[[0-9a-f:.]*:[0-9a-f:.]*\](?::\d+)?    # an IPv6 address in brackets
    |   \b[\w.-]+\.[\w.-]+:\d{2,5}\b            # a host name with a port
    |   \b(?:localhost|host):\d{2,5}\b
    |   (?<![\w.])/(?:[\w.+-]+/)+[\w.+-]*       # a path of at least two parts
    """,
    re.I | re.X,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseFacts:
    """An answer that is not a plain success, as the rows look at it."""

    function: str
    status: int
    text: str  # the body, for reading; replaced characters where it is not UTF-8
    platform_says: str  # the dashboard's own failure, "" where the function itself answered
    sent_bytes: int
    max_body_bytes: int
    retry_after_s: float | None


ErrorFactory = Callable[[ResponseFacts], LambdaError]


class ProxyTimeout(FunctionTimeout):
    """A proxy in front of the function gave up; the function may not have been asked at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRule:
    """A line of the table: what is seen, and what it is."""

    name: str
    fits: Callable[[ResponseFacts], bool]
    make: ErrorFactory


class AddressMissing(FunctionUnavailable):
    """The platform knows no address of the function; its state tells whether to wait for one."""


def read_answer(spec: FunctionSpec, answer: Answer, *, sent_bytes: int, platform: bool) -> Any:
    """Return the function's parsed answer or raise the typed error it amounts to.

    ``platform``: the answer came through the dashboard, which may speak for itself.
    """
    if answer.status == 200 and answer.body:
        parse = mask_text.parse if spec.kind is Kind.INTERACTOR else json.loads
        return parse_answer(spec.id, answer.body, parse=parse)
    seen = _see(spec, answer, sent_bytes=sent_bytes, platform=platform)
    row = next(row for row in ERROR_RULES if row.fits(seen))
    error = row.make(seen)
    logger.warning(
        "function '%s' answered %d (%s): %s",
        spec.id,
        answer.status,
        row.name,
        seen.text[:_LOGGED],
        extra={"action": "function_error", "function": spec.id, "code": error.code},
    )
    raise error


def parse_answer(function: str, body: bytes, *, parse: Callable[..., Any] = json.loads) -> Any:
    """Parse a body as strict JSON whatever its content type says. Raise FunctionAnswerInvalid."""
    try:
        return parse(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        reason = f": {exc}" if isinstance(exc, _ConstantError) else ""
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


def too_large(function: str, sent_bytes: int, max_body_bytes: int) -> PayloadTooLarge:
    """Say how large a call is and how large it may be."""
    return PayloadTooLarge(
        f"function '{function}' takes at most {_megabytes(max_body_bytes)} in one call, this one "
        f"has {_megabytes(sent_bytes)}; raise its maxRequestBodySize or use smaller images",
        size_bytes=sent_bytes,
        max_bytes=max_body_bytes,
    )


def clean_line(text: str) -> str:
    """Return the first line of a function's text, short, without addresses and paths."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    line = "".join(char for char in _ADDRESS.sub("…", line[: 4 * _SHOWN]) if char.isprintable())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


class _ConstantError(ValueError):
    """A constant that JSON does not have."""


def _refuse_constant(name: str) -> NoReturn:
    raise _ConstantError(f"it holds {name}")


def _see(spec: FunctionSpec, answer: Answer, *, sent_bytes: int, platform: bool) -> ResponseFacts:
    text = answer.body[: 1 << 16].decode("utf-8", "replace").strip()
    return ResponseFacts(
        function=spec.id,
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
    """Read Retry-After (RFC 9110, 10.2.3): seconds, or a date, which counts from the answer's."""
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


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:.1f} MB"


def _own_message(seen: ResponseFacts) -> str:
    """Return the sentence in a function's error answer: plain text, or JSON with a message."""
    text = seen.text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        words = (value.get(key) for key in ("message", "error", "detail"))
        text = next((word for word in words if isinstance(word, str)), "")
    elif isinstance(value, str):
        text = value
    return "" if text.startswith("<") else clean_line(text)  # not the page of some proxy


def _handler_error(seen: ResponseFacts) -> LambdaError:
    match = _HANDLER_ERROR.search(seen.text)
    message = clean_line(match[1] if match else "")
    ending = f": {message}" if message else "; its log has the details"
    return FunctionFailed(f"function '{seen.function}' failed{ending}")


def _rejected(seen: ResponseFacts) -> LambdaError:
    message = _own_message(seen)
    ending = f": {message}" if message else f" with status {seen.status}"
    error = FunctionRejected(f"function '{seen.function}' refused the input{ending}")
    error.status_code = 422 if seen.status == 422 else 400
    return error


def _failed(seen: ResponseFacts) -> LambdaError:
    message = _own_message(seen)
    ending = f": {message}" if message else f" with status {seen.status}"
    return FunctionFailed(f"function '{seen.function}' failed{ending}")


def _busy(seen: ResponseFacts) -> LambdaError:
    return FunctionBusy(f"all workers of function '{seen.function}' are busy", **_asked(seen))


def _forbidden(seen: ResponseFacts) -> LambdaError:
    error = FunctionUnavailable(
        f"function '{seen.function}' does not accept this server's credentials; "
        "an administrator sets the token of its platform or endpoint"
    )
    error.permanent = True
    return error


def _says(error: type[LambdaError], sentence: str) -> ErrorFactory:
    return lambda seen: error(f"function '{seen.function}' {sentence}", **_asked(seen))


def _asked(seen: ResponseFacts) -> dict[str, Any]:
    return {} if seen.retry_after_s is None else {"retry_after_s": seen.retry_after_s}


def _too_large(seen: ResponseFacts) -> LambdaError:
    return too_large(seen.function, seen.sent_bytes, seen.max_body_bytes)


_CRASHED: Final = "ended while it worked on this input"
_TOO_SLOW: Final = "did not answer in time"
_STARTING: Final = "is starting or restarting"
_UNREACHABLE: Final = "cannot be reached"

TRANSPORT: Final[dict[type[TransportError], tuple[type[LambdaError], str]]] = {
    ConnectFailed: (PlatformUnreachable, _UNREACHABLE),
    ConnectionLost: (FunctionCrashed, _CRASHED),
    AnswerTimeout: (FunctionTimeout, _TOO_SLOW),
    AnswerMalformed: (FunctionAnswerInvalid, "answered with something else than HTTP and JSON"),
}

ERROR_RULES: Final[tuple[ErrorRule, ...]] = (
    ErrorRule(
        name="dashboard: unknown function",
        fits=lambda seen: bool(seen.platform_says) and seen.status == 404,
        make=_says(FunctionNotFound, "is not on its platform any more"),
    ),
    ErrorRule(
        name="dashboard: no address yet",
        fits=lambda seen: "Invocation URL is required" in seen.platform_says,
        make=_says(AddressMissing, "has no address on its platform"),
    ),
    ErrorRule(
        name="dashboard: timeout",
        fits=lambda seen: bool(_TIMED_OUT.search(seen.platform_says)),
        make=_says(FunctionTimeout, _TOO_SLOW),
    ),
    ErrorRule(
        name="dashboard: connection broken off",
        fits=lambda seen: bool(_BROKEN_OFF.search(seen.platform_says)),
        make=_says(FunctionCrashed, _CRASHED),
    ),
    ErrorRule(
        name="dashboard: bad request",
        fits=lambda seen: bool(seen.platform_says) and seen.status == 400,
        make=_says(FunctionUnavailable, "is not where its platform says"),
    ),
    ErrorRule(
        name="dashboard: not reachable",  # refused, name unknown, no route
        fits=lambda seen: bool(seen.platform_says),
        make=_says(PlatformUnreachable, _UNREACHABLE),
    ),
    ErrorRule(
        name="not ready",
        fits=lambda seen: seen.status == 503 and "not ready" in seen.text.lower(),
        make=_says(FunctionUnavailable, _STARTING),
    ),
    ErrorRule(name="busy", fits=lambda seen: seen.status in (429, 503), make=_busy),
    ErrorRule(
        name="worker restarts",
        fits=lambda seen: (
            seen.status == 500
            and seen.text.startswith(("Processor not ready", "Can't encode item"))
        ),
        make=_says(FunctionUnavailable, _STARTING),
    ),
    ErrorRule(
        name="handler raised",
        fits=lambda seen: seen.status >= 500 and "Exception caught in handler" in seen.text,
        make=_handler_error,
    ),
    ErrorRule(
        name="worker died",
        fits=lambda seen: (
            seen.status in (500, 502)
            and bool(re.match(r"EOF\b|Client disconnected|Worker (died|crashed)", seen.text))
        ),
        make=_says(FunctionCrashed, _CRASHED),
    ),
    ErrorRule(
        name="handler timed out",
        fits=lambda seen: seen.status == 408,
        make=_says(FunctionTimeout, "took longer than its own time limit"),
    ),
    ErrorRule(
        name="proxy timeout",
        fits=lambda seen: seen.status == 504,
        make=_says(ProxyTimeout, _TOO_SLOW),
    ),
    ErrorRule(
        name="proxy: nobody there",
        fits=lambda seen: seen.status == 502,
        make=_says(FunctionUnavailable, _STARTING),
    ),
    ErrorRule(
        name="too large",
        fits=lambda seen: (
            seen.status in (413, 431)
            or (seen.status == 400 and seen.text.startswith("Error when parsing request"))
        ),
        make=_too_large,
    ),
    ErrorRule(
        name="credentials", fits=lambda seen: seen.status in (401, 403, 407), make=_forbidden
    ),
    ErrorRule(name="refused", fits=lambda seen: 400 <= seen.status < 500, make=_rejected),
    ErrorRule(name="failed", fits=lambda seen: seen.status >= 500, make=_failed),
    ErrorRule(
        name="redirect",
        fits=lambda seen: 300 <= seen.status < 400,
        make=_says(FunctionAnswerInvalid, "answered with a redirect; give its final address"),
    ),
    ErrorRule(
        name="empty or not 200",
        fits=lambda seen: True,
        make=_says(FunctionAnswerInvalid, "answered without a content"),
    ),
)
