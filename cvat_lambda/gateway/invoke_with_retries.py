"""An invocation with patience: through the function's gate, retried where that makes sense."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from cvat_lambda.errors import (
    FunctionBusy,
    FunctionError,
    FunctionTimeout,
    LambdaError,
    PlatformError,
)
from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.gateway.cancel import Cancel
from cvat_lambda.gateway.concurrency import gate_of
from cvat_lambda.gateway.invoke import invoke
from cvat_lambda.gateway.retry import ASKED_AT_MOST_S, Retries, for_people, retry_after_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """A function's parsed answer, and what it took."""

    answer: Any
    attempts: int


def call(
    spec: FunctionSpec,
    body: bytes,
    *,
    request_id: str,
    retries: Retries | None = None,
    person: bool = True,
    deadline_s: float | None = None,
    cancel: Cancel | None = None,
) -> Called:
    """Invoke a function until it answers or ``retries`` (a person's, by default) gives up.

    ``person``: someone waits for this call, so it goes before background requests. Raises what
    `invoke` raises; a failure's details say how many ``attempts`` were made. ``cancel`` ends
    waiting, pausing and invoking at once with CallAbandoned.
    """
    cancel = cancel or Cancel()
    retries = retries or for_people().start()
    until = None if deadline_s is None else time.monotonic() + deadline_s
    while True:
        try:
            answer = _attempt(spec, body, request_id, person, _left_s(spec, until), cancel, retries)
            return Called(answer=answer, attempts=retries.attempts + 1)
        except LambdaError as error:
            pause_s = retries.pause_s(error)
            late = pause_s is not None and until is not None and time.monotonic() + pause_s > until
            if pause_s is None or late:
                error.details["attempts"] = retries.attempts
                raise
        cancel.wait(pause_s)


def _attempt(
    spec: FunctionSpec,
    body: bytes,
    request_id: str,
    person: bool,
    deadline_s: float | None,
    cancel: Cancel,
    retries: Retries,
) -> Any:
    gate = gate_of(spec)
    # A person hears "busy" after the time that the function itself would let a call wait.
    wait_s = spec.availability_timeout_s if person else deadline_s
    queued_at = time.monotonic()
    with gate.place(cancel=cancel, person=person, timeout_s=wait_s):
        begun_at = time.monotonic()
        # To a person a place among our calls is as dear as one at the function.
        retries.begin(queued_s=0.0 if person else begun_at - queued_at)
        try:
            answer = invoke(spec, body, request_id=request_id, deadline_s=deadline_s, cancel=cancel)
        except PlatformError as exc:
            asked_s = retry_after_s(exc)
            if asked_s is not None and asked_s <= ASKED_AT_MOST_S:  # else nobody waits for it
                gate.hold(asked_s)
            if isinstance(exc, FunctionBusy):
                gate.refused()
            raise
        except FunctionError:
            gate.succeeded()  # it was let in, and failed on its own account
            raise
        # People's calls may be of another kind: what is at the door follows the requests'.
        gate.succeeded(None if person else time.monotonic() - begun_at)
        return answer


def _left_s(spec: FunctionSpec, until: float | None) -> float | None:
    if until is None:
        return None
    left_s = until - time.monotonic()
    if left_s <= 0:
        raise FunctionTimeout(f"function '{spec.id}' did not answer in time")
    return left_s
