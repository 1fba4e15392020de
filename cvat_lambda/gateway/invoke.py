"""Invoke a function once: find the route, send the payload, parse the answer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

from cvat_lambda import signals
from cvat_lambda.conf import settings
from cvat_lambda.errors import LambdaError, PlatformError
from cvat_lambda.functions import background
from cvat_lambda.functions.durations import format_duration
from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.gateway.agents import invoke_agent
from cvat_lambda.gateway.cancel import CancelToken
from cvat_lambda.gateway.endpoint import endpoint_route
from cvat_lambda.gateway.error_rules import AddressMissing, too_large
from cvat_lambda.gateway.gateway import get_gateway
from cvat_lambda.gateway.http import Answer, ConnectFailed, TransportError
from cvat_lambda.gateway.payload import Body, content_type, pieces_of
from cvat_lambda.gateway.responses import read_answer, translate
from cvat_lambda.gateway.routes import Route
from cvat_lambda.observability.context import request_context
from cvat_lambda.observability.traces import invocation_span

_MARGIN_S: Final = 5.0  # for the transfer, in addition to the function's own time limits
# The embedded runtime says in it which revision of the function answered; header names are lower
# case here.
REVISION_HEADER: Final = "x-cvat-lambda-revision"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """A function's parsed answer, and the revision that gave it."""

    answer: Any
    revision: str  # "": not known


def invoke_once(
    spec: FunctionSpec,
    body: Body,
    *,
    request_id: str,
    deadline_s: float | None = None,
    cancel: CancelToken | None = None,
    interactive: bool = True,
) -> Invocation:
    """Invoke a function once with an encoded payload.

    Agents of a native function take ``interactive`` invocations first.
    ``deadline_s`` bounds the whole call, in addition to the function's own time limits. A request
    is repeated only if it certainly has not run: its kept connection was closed, or its address
    was out of date. Raise PayloadTooLarge before anything is sent, a FunctionError,
    a PlatformError, or Cancelled as soon as ``cancel`` is cancelled.
    """
    started = time.monotonic()
    try:
        with request_context(request_id):
            answered = _invoke(spec, body, request_id, deadline_s, cancel, interactive)
    except LambdaError as exc:
        _send_signal(spec, time.monotonic() - started, exc)
        background.report(spec, exc)
        raise
    _send_signal(spec, time.monotonic() - started, None)
    background.report(spec, None, revision=answered.revision)
    return answered


def invoke(spec: FunctionSpec, body: Body, **options: Any) -> Any:
    """Invoke a function once, as `invoke_once` does, and return its parsed answer alone."""
    return invoke_once(spec, body, **options).answer


def _send_signal(spec: FunctionSpec, duration_s: float, error: LambdaError | None) -> None:
    # A receiver that raises must not fail a frame.
    signals.function_invoked.send_robust(
        sender=invoke_once, function_id=spec.id, duration_s=duration_s, error=error
    )


def _invoke(
    spec: FunctionSpec,
    body: Body,
    request_id: str,
    deadline_s: float | None,
    cancel: CancelToken | None,
    interactive: bool,
) -> Invocation:
    if len(body) > spec.max_body_bytes:
        raise too_large(spec.id, len(body), spec.max_body_bytes)
    timeout_s = time_limit_s(spec)
    if deadline_s is not None:
        timeout_s = min(timeout_s, deadline_s)
    if spec.is_native:
        found = invoke_agent(
            spec,
            b"".join(pieces_of(body)),
            interactive=interactive,
            timeout_s=timeout_s,
            cancel=cancel,
        )
        return Invocation(answer=found, revision=spec.revision)
    route = _route(spec)
    try:
        try:
            answer = _post(spec, route, body, request_id, timeout_s, cancel)
        except ConnectFailed:
            if not _find_again(spec, route):
                raise
            route = _route(spec)
            answer = _post(spec, route, body, request_id, timeout_s, cancel)
    except TransportError as exc:
        raise translate(spec.id, exc) from exc
    try:
        parsed = read_answer(spec, answer, sent_bytes=len(body), platform=route.through_dashboard)
    except AddressMissing as exc:
        raise get_gateway().routes.why_no_address(spec) from exc
    # A Nuclio function does not state the revision that answers: the registry's is used.
    return Invocation(answer=parsed, revision=answer.headers.get(REVISION_HEADER) or spec.revision)


def time_limit_s(spec: FunctionSpec) -> float:
    """Return the time limit of an invocation in seconds: run, wait for a worker, and transfer."""
    run_s = settings.CALL_TIMEOUT_S if spec.timeout_s is None else spec.timeout_s
    return run_s + spec.availability_timeout_s + _MARGIN_S


def interactive_time_limit_s(spec: FunctionSpec) -> float:
    """Return the time limit of an interactive call in seconds, for all its attempts together."""
    run_s = settings.CALL_TIMEOUT_S if spec.timeout_s is None else spec.timeout_s
    return run_s + max(spec.availability_timeout_s, _MARGIN_S)


def _route(spec: FunctionSpec) -> Route:
    gateway = get_gateway()
    if spec.address.platform == "endpoint":
        return endpoint_route(spec, gateway.hosts)
    return gateway.routes.find(spec)


def _find_again(spec: FunctionSpec, failed: Route) -> bool:
    if spec.address.platform == "endpoint":
        return False
    try:
        return get_gateway().routes.refresh(spec, failed)
    except PlatformError as exc:
        if exc.code != "platform_unreachable":
            raise
        return False


def _post(
    spec: FunctionSpec,
    route: Route,
    body: Body,
    request_id: str,
    timeout_s: float,
    cancel: CancelToken | None,
) -> Answer:
    headers = {
        "Content-Type": content_type(body),
        "X-Nuclio-Target": spec.id,
        "X-Request-Id": request_id,
        **dict(route.headers),
    }
    if route.through_dashboard:
        headers["x-nuclio-invoke-timeout"] = format_duration(timeout_s)
    connections = get_gateway().connections
    with invocation_span(spec.id, spec.revision, headers):
        return connections.post(
            route.server, route.path, body, headers, timeout_s=timeout_s, cancel=cancel
        )
