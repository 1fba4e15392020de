"""The gateway's door: one invocation of a function, its answer parsed or one typed error."""

from __future__ import annotations

import time
from typing import Any, Final

from cvat_lambda import signals
from cvat_lambda.conf import settings
from cvat_lambda.errors import LambdaError, PlatformError
from cvat_lambda.functions.background import report
from cvat_lambda.functions.durations import format_duration
from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.gateway.cancel import CancelToken
from cvat_lambda.gateway.endpoint import endpoint_route
from cvat_lambda.gateway.gateway import get_gateway
from cvat_lambda.gateway.http import Answer, ConnectFailed, TransportError
from cvat_lambda.gateway.responses import AddressMissing, read_answer, too_large, translate
from cvat_lambda.gateway.routes import Route

# What is left for the way there and back when a function uses up its own time limits.
_MARGIN_S: Final = 5.0


def invoke(
    spec: FunctionSpec,
    body: bytes,
    *,
    request_id: str,
    deadline_s: float | None = None,
    cancel: CancelToken | None = None,
) -> Any:
    """Invoke a function once with an encoded payload and return its parsed answer.

    ``deadline_s`` bounds the whole, besides the function's own time limits. Nothing is retried,
    except what has certainly not run: a kept connection that proved dead, an address that was
    out of date. Raises PayloadTooLarge before anything is sent, a FunctionError, a PlatformError,
    or Cancelled as soon as ``cancel`` is set.
    """
    started = time.monotonic()
    try:
        answer = _invoke(spec, body, request_id, deadline_s, cancel)
    except LambdaError as exc:
        _tell(spec, time.monotonic() - started, exc)
        raise
    _tell(spec, time.monotonic() - started, None)
    return answer


def _tell(spec: FunctionSpec, duration_s: float, error: LambdaError | None) -> None:
    report(spec, error)
    # A receiver that raises must not fail a frame.
    signals.function_invoked.send_robust(
        sender=invoke, function_id=spec.id, duration_s=duration_s, error=error
    )


def _invoke(
    spec: FunctionSpec,
    body: bytes,
    request_id: str,
    deadline_s: float | None,
    cancel: CancelToken | None,
) -> Any:
    if len(body) > spec.max_body_bytes:
        raise too_large(spec.id, len(body), spec.max_body_bytes)
    timeout_s = time_limit_s(spec)
    if deadline_s is not None:
        timeout_s = min(timeout_s, deadline_s)
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
        return read_answer(spec, answer, sent_bytes=len(body), platform=route.through_dashboard)
    except AddressMissing as exc:
        raise get_gateway().routes.why_no_address(spec) from exc


def time_limit_s(spec: FunctionSpec) -> float:
    """Seconds that an invocation may take: its run, its wait for a worker, the way."""
    run_s = settings.CALL_TIMEOUT_S if spec.timeout_s is None else spec.timeout_s
    return run_s + spec.availability_timeout_s + _MARGIN_S


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
    body: bytes,
    request_id: str,
    timeout_s: float,
    cancel: CancelToken | None,
) -> Answer:
    headers = {
        # Exactly so: with a charset the Python wrapper would hand over bytes, not JSON.
        "Content-Type": "application/json",
        "X-Nuclio-Target": spec.id,
        "X-Request-Id": request_id,
        **dict(route.headers),
    }
    if route.through_dashboard:
        headers["x-nuclio-invoke-timeout"] = format_duration(timeout_s)
    connections = get_gateway().connections
    return connections.post(
        route.server, route.path, body, headers, timeout_s=timeout_s, cancel=cancel
    )
