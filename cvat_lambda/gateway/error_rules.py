"""The table of rules that make one typed error of the response of a function.

The first rule of `ERROR_RULES` that fits the facts applies. The facts are those of Nuclio 1.14.1
(processor, Python wrapper, dashboard, DLX) and nginx in front of it.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cvat_lambda.errors import (
    EmbeddingUnknown,
    FunctionAnswerInvalid,
    FunctionBusy,
    FunctionCrashed,
    FunctionFailed,
    FunctionNotFound,
    FunctionRejected,
    FunctionStateUnknown,
    FunctionTimeout,
    FunctionUnavailable,
    LambdaError,
    PayloadTooLarge,
    PlatformUnreachable,
)
from cvat_lambda.functions.spec import Kind
from cvat_lambda.gateway.clean_text import clean_line

_HANDLER_ERROR: Final = re.compile(r'Exception caught in handler - "(.*?)"(?:: |:\n|\s*$)', re.S)
_TIMED_OUT: Final = re.compile(
    r"deadline exceeded|Client\.Timeout|timed out|i/o timeout|no answer within", re.I
)
_BROKEN_OFF: Final = re.compile(
    r"\bEOF\b|connection reset|broken pipe|(Client|Server) disconnected", re.I
)
# The body of an answer that a proxy made: a page, or one of the usual sentences.
_PROXY_TEXT: Final = re.compile(
    r"<|bad gateway|service (temporarily )?unavailable|no available server"
    r"|upstream (connect|request) error|no healthy upstream",
    re.I,
)
CRASHED: Final = "ended while it worked on this input"
TOO_SLOW: Final = "did not answer in time"
_STARTING: Final = "is starting or restarting"
UNREACHABLE: Final = "cannot be reached"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseFacts:
    """The facts that the rules test, of an answer that is not a plain success."""

    function: str
    kind: Kind  # of the function
    status: int
    text: str  # the body; bytes that are not UTF-8 are replaced
    platform_says: str  # the dashboard's own error; "": the function answered
    sent_bytes: int
    max_body_bytes: int
    retry_after_s: float | None


ErrorFactory = Callable[[ResponseFacts], LambdaError]


class ProxyTimeout(FunctionTimeout):
    """A proxy in front of the function timed out. The function may not have been called."""


class FunctionNotDeployed(FunctionUnavailable):
    """The function is being built or is not on its platform; this can take minutes."""


class AgentLost(FunctionCrashed):
    """The agent of a native function stopped its heartbeats while it worked on this input."""


class HandlerUnavailable(FunctionFailed):
    """The function's own code answered with status 502 or 503 and a sentence."""

    permanent = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRule:
    """A rule: a condition on the facts, and the error for it."""

    name: str
    fits: Callable[[ResponseFacts], bool]
    make: ErrorFactory
    level: int = logging.WARNING  # of the log line


class AddressMissing(FunctionUnavailable):
    """The platform knows no address of the function; the function's state says why."""


def too_large(function: str, sent_bytes: int, max_body_bytes: int) -> PayloadTooLarge:
    """Return an error that says how large the body is and how large it may be."""
    return PayloadTooLarge(
        f"function '{function}' takes at most {_megabytes(max_body_bytes)} in one call, this one "
        f"has {_megabytes(sent_bytes)}; raise its maxRequestBodySize or use smaller images",
        size_bytes=sent_bytes,
        max_bytes=max_body_bytes,
    )


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:.1f} MB"


def _own_message(facts: ResponseFacts) -> str:
    """Return the sentence in a function's own error answer: plain text, or JSON with a message."""
    text = facts.text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        words = (value.get(key) for key in ("message", "error", "detail"))
        text = next((word for word in words if isinstance(word, str)), "")
    elif isinstance(value, str):
        text = value
    return "" if _PROXY_TEXT.match(text) else clean_line(text)


def _handler_error(facts: ResponseFacts) -> LambdaError:
    match = _HANDLER_ERROR.search(facts.text)
    message = clean_line(match[1] if match else "")
    ending = f": {message}" if message else "; its log has the details"
    return FunctionFailed(f"function '{facts.function}' failed{ending}")


def _rejected(facts: ResponseFacts) -> LambdaError:
    message = _own_message(facts)
    ending = f": {message}" if message else f" with status {facts.status}"
    error = FunctionRejected(f"function '{facts.function}' refused the input{ending}")
    error.status_code = 422 if facts.status == 422 else 400
    return error


def _state_unknown(facts: ResponseFacts) -> LambdaError:
    """Return the error of a tracker without a state, with the indices of the objects if given."""
    objects = _error_object(facts).get("objects")
    usable = isinstance(objects, list) and all(type(index) is int for index in objects)
    message = _own_message(facts) or "it does not have the state of a tracked object any more"
    return FunctionStateUnknown(
        f"function '{facts.function}': {message}", **({"objects": objects} if usable else {})
    )


def _error_object(facts: ResponseFacts) -> dict[str, Any]:
    """Return a function's own error answer if it is a JSON object, else an empty one."""
    try:
        value = json.loads(facts.text)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {}


def _failed(facts: ResponseFacts) -> LambdaError:
    message = _own_message(facts)
    ending = f": {message}" if message else f" with status {facts.status}"
    return FunctionFailed(f"function '{facts.function}' failed{ending}")


def _handler_unavailable(facts: ResponseFacts) -> LambdaError:
    return HandlerUnavailable(
        f"function '{facts.function}' answered with status {facts.status}: {_own_message(facts)}",
        **_asked(facts),
    )


def _busy(facts: ResponseFacts) -> LambdaError:
    return FunctionBusy(f"all workers of function '{facts.function}' are busy", **_asked(facts))


def _forbidden(facts: ResponseFacts) -> LambdaError:
    error = FunctionUnavailable(
        f"function '{facts.function}' does not accept this server's credentials; "
        "an administrator sets the token of its platform or endpoint"
    )
    error.permanent = True
    return error


def _says(error: type[LambdaError], sentence: str) -> ErrorFactory:
    return lambda facts: error(f"function '{facts.function}' {sentence}", **_asked(facts))


def _asked(facts: ResponseFacts) -> dict[str, Any]:
    return {} if facts.retry_after_s is None else {"retry_after_s": facts.retry_after_s}


def _too_large(facts: ResponseFacts) -> LambdaError:
    return too_large(facts.function, facts.sent_bytes, facts.max_body_bytes)


ERROR_RULES: Final[tuple[ErrorRule, ...]] = (
    ErrorRule(
        name="dashboard: unknown function",
        fits=lambda facts: bool(facts.platform_says) and facts.status == 404,
        make=_says(FunctionNotFound, "was removed from its platform"),
    ),
    ErrorRule(
        name="dashboard: no address yet",
        fits=lambda facts: "Invocation URL is required" in facts.platform_says,
        make=_says(AddressMissing, "has no address on its platform"),
    ),
    ErrorRule(
        name="dashboard: timeout",
        fits=lambda facts: bool(_TIMED_OUT.search(facts.platform_says)),
        make=_says(FunctionTimeout, TOO_SLOW),
    ),
    ErrorRule(
        name="dashboard: connection broken off",
        fits=lambda facts: bool(_BROKEN_OFF.search(facts.platform_says)),
        make=_says(FunctionCrashed, CRASHED),
    ),
    ErrorRule(
        name="dashboard: bad request",
        fits=lambda facts: bool(facts.platform_says) and facts.status == 400,
        make=_says(FunctionUnavailable, "does not answer at the address that its platform states"),
    ),
    ErrorRule(
        name="dashboard: not reachable",  # refused, name unknown, no route
        fits=lambda facts: bool(facts.platform_says),
        make=_says(PlatformUnreachable, UNREACHABLE),
    ),
    ErrorRule(
        name="embedding unknown",
        fits=lambda facts: (
            facts.kind is Kind.INTERACTOR
            and facts.status >= 400
            and _error_object(facts).get("code") == EmbeddingUnknown.code
        ),
        make=_says(EmbeddingUnknown, "does not have the embedding any more"),
        level=logging.DEBUG,  # of each key, each worker process answers so once
    ),
    ErrorRule(
        name="tracker state unknown",
        fits=lambda facts: (
            facts.kind is Kind.TRACKER
            and (
                facts.status == 410
                or (
                    facts.status >= 400
                    and _error_object(facts).get("code") == FunctionStateUnknown.code
                )
            )
        ),
        make=_state_unknown,
    ),
    ErrorRule(
        name="not ready",
        fits=lambda facts: facts.status == 503 and "not ready" in facts.text.lower(),
        make=_says(FunctionUnavailable, _STARTING),
    ),
    ErrorRule(
        name="worker died",
        fits=lambda facts: (
            facts.status in (500, 502)
            and bool(re.match(r"EOF\b|Client disconnected|Worker (died|crashed)", facts.text))
        ),
        make=_says(FunctionCrashed, CRASHED),
    ),
    ErrorRule(
        name="handler unavailable",
        fits=lambda facts: facts.status in (502, 503) and bool(_own_message(facts)),
        make=_handler_unavailable,
    ),
    ErrorRule(name="busy", fits=lambda facts: facts.status in (429, 503), make=_busy),
    ErrorRule(
        name="worker restarts",
        fits=lambda facts: (
            facts.status == 500
            and facts.text.startswith(("Processor not ready", "Can't encode item"))
        ),
        make=_says(FunctionUnavailable, _STARTING),
    ),
    ErrorRule(
        name="handler raised",
        fits=lambda facts: facts.status >= 500 and "Exception caught in handler" in facts.text,
        make=_handler_error,
    ),
    ErrorRule(
        name="handler timed out",
        fits=lambda facts: facts.status == 408,
        make=_says(FunctionTimeout, "took longer than its own time limit"),
    ),
    ErrorRule(
        name="proxy timeout",
        fits=lambda facts: facts.status == 504,
        make=_says(ProxyTimeout, TOO_SLOW),
    ),
    ErrorRule(
        name="proxy: function does not answer",
        fits=lambda facts: facts.status == 502,
        make=_says(FunctionUnavailable, _STARTING),
    ),
    ErrorRule(
        name="too large",
        fits=lambda facts: (
            facts.status in (413, 431)
            or (facts.status == 400 and facts.text.startswith("Error when parsing request"))
        ),
        make=_too_large,
    ),
    ErrorRule(
        name="credentials", fits=lambda facts: facts.status in (401, 403, 407), make=_forbidden
    ),
    ErrorRule(name="refused", fits=lambda facts: 400 <= facts.status < 500, make=_rejected),
    ErrorRule(name="failed", fits=lambda facts: facts.status >= 500, make=_failed),
    ErrorRule(
        name="redirect",
        fits=lambda facts: 300 <= facts.status < 400,
        make=_says(FunctionAnswerInvalid, "answered with a redirect; give its final address"),
    ),
    ErrorRule(
        name="empty or not 200",
        fits=lambda facts: True,
        make=_says(FunctionAnswerInvalid, "did not answer with status 200 and a body"),
    ),
)
