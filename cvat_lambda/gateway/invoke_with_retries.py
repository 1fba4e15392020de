"""Invoke a function within its concurrency limit, and retry after errors that may pass."""

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
from cvat_lambda.gateway.cancel import CancelToken
from cvat_lambda.gateway.gateway import get_gateway
from cvat_lambda.gateway.invoke import Invocation, interactive_time_limit_s, invoke_once
from cvat_lambda.gateway.payload import Body
from cvat_lambda.gateway.retry import (
    MAX_RETRY_AFTER_S,
    Retries,
    interactive_policy,
    retry_after_s,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class InvocationResult:
    """A function's parsed answer, and the attempts that it took."""

    answer: Any
    attempts: int  # that may have run, this one included
    revision: str  # of the function that answered; "" if it is not known


def invoke_with_retries(
    spec: FunctionSpec,
    body: Body,
    *,
    request_id: str,
    retries: Retries | None = None,
    interactive: bool = True,
    deadline_s: float | None = None,
    cancel: CancelToken | None = None,
) -> InvocationResult:
    """Invoke a function until it answers or ``retries`` gives up.

    ``interactive`` calls have precedence over background work.
    By default ``retries`` is that of an interactive call, which ends in any case at the function's
    time limit plus a few seconds. Raise what `invoke_once` raises; the details of a failure say
    how many ``attempts`` may have run, at least 1. ``cancel`` ends waiting, pausing
    and invoking at once with Cancelled.
    """
    cancel = cancel or CancelToken()
    retries = retries or interactive_policy().start()
    if interactive and deadline_s is None:
        deadline_s = interactive_time_limit_s(spec)
    until = None if deadline_s is None else time.monotonic() + deadline_s
    while True:
        try:
            invocation = _attempt(
                spec, body, request_id, interactive, _left_s(spec, until), cancel, retries
            )
            return InvocationResult(
                answer=invocation.answer,
                attempts=retries.attempts + 1,
                revision=invocation.revision,
            )
        except LambdaError as error:
            pause_s = retries.pause_s(error)
            late = pause_s is not None and until is not None and time.monotonic() + pause_s > until
            if pause_s is None or late:
                error.details["attempts"] = max(1, retries.attempts)
                raise
        cancel.wait(pause_s)


def _attempt(
    spec: FunctionSpec,
    body: Body,
    request_id: str,
    interactive: bool,
    deadline_s: float | None,
    cancel: CancelToken,
    retries: Retries,
) -> Invocation:
    limiter = get_gateway().limiter(spec)
    # An interactive caller is told "busy" after the time that the function itself would let a
    # call wait for a worker.
    wait_s = spec.availability_timeout_s if interactive else deadline_s
    queued_at = time.monotonic()
    with limiter.acquire(cancel=cancel, interactive=interactive, timeout_s=wait_s):
        begun_at = time.monotonic()
        # The wait for a slot counts against the budget of an interactive call only.
        retries.begin(queued_s=0.0 if interactive else begun_at - queued_at)
        try:
            invocation = invoke_once(
                spec,
                body,
                request_id=request_id,
                deadline_s=deadline_s,
                cancel=cancel,
                interactive=interactive,
            )
        except PlatformError as exc:
            pause_s = retry_after_s(exc)
            if pause_s is not None and pause_s <= MAX_RETRY_AFTER_S:  # no request waits longer
                limiter.hold(pause_s)
            if isinstance(exc, FunctionBusy):
                limiter.refused()
            raise
        except FunctionError:
            limiter.succeeded()  # the function had a free worker, and failed for another reason
            raise
        # Interactive calls may take another time: the limit follows that of background calls.
        limiter.succeeded(None if interactive else time.monotonic() - begun_at)
        return invocation


def _left_s(spec: FunctionSpec, until: float | None) -> float | None:
    if until is None:
        return None
    left_s = until - time.monotonic()
    if left_s <= 0:
        raise FunctionTimeout(f"function '{spec.id}' did not answer in time")
    return left_s
