"""Choose where to send an invocation: directly to the function, or through the dashboard.

A direct call shows the function's own 503, needs no look-up by the platform, and has no time limit
of a proxy (60 s). The dashboard always knows the address of the function. ``auto`` tries the
direct addresses that this machine may reach, and keeps the one that worked until a connection
fails. Functions use plain HTTP: if the dashboard's URL is https, ``auto`` uses the dashboard.
"""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from cvat_lambda.conf import settings
from cvat_lambda.errors import (
    FunctionNotFound,
    FunctionUnavailable,
    LambdaError,
    PlatformUnreachable,
)
from cvat_lambda.functions.metadata import parse_function
from cvat_lambda.functions.spec import Address, FunctionSpec
from cvat_lambda.gateway.clean_text import clean_line
from cvat_lambda.gateway.error_rules import FunctionNotDeployed
from cvat_lambda.gateway.http import ConnectionPool, Server
from cvat_lambda.gateway.nuclio import Nuclio, platform

logger = logging.getLogger(__name__)

_PROBE_S: Final = 0.5  # time limit for a connection to a direct address
_DASHBOARD_FOR_S: Final = 60.0  # how long `auto` uses the dashboard before it probes again
REREAD_S: Final = 1.0  # minimum time between two reads of a function's address
_INVOCATIONS: Final = "/api/function_invocations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A server and a path that lead to a function."""

    server: Server
    path: str = "/"
    through_dashboard: bool = False
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(slots=True, kw_only=True)
class _Known:
    """The known address of one function. ``lock`` guards it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    given: Address = field(default_factory=Address)  # the registry's, when the route was chosen
    address: Address = field(default_factory=Address)  # the platform's, which may be newer
    route: Route | None = None
    until: float = float("inf")  # monotonic
    reread_at: float = float("-inf")  # monotonic
    fresh: FunctionSpec | None = None  # as read then; None: the platform did not answer


class Routes:
    """The routes to Nuclio's functions, shared by all threads of the process."""

    def __init__(self, connections: ConnectionPool) -> None:
        self._pool = connections
        self._lock = threading.Lock()
        self._known: dict[tuple[Any, ...], _Known] = {}

    def find(self, spec: FunctionSpec) -> Route:
        """Return the route to a function.

        Raise FunctionUnavailable if its platform says that it does not run, PlatformUnreachable
        if neither answers.
        """
        nuclio = platform()
        known = self._of(spec, nuclio)
        with known.lock:
            if known.given != spec.address:  # the registry has a new address
                known.given = known.address = spec.address
                known.route = None
            if known.route is None or time.monotonic() > known.until:
                known.route = self._choose(spec.id, known, nuclio)
                known.until = (
                    time.monotonic() + _DASHBOARD_FOR_S
                    if known.route.through_dashboard
                    else float("inf")
                )
            return known.route

    def refresh(self, spec: FunctionSpec, failed: Route) -> bool:
        """Ask the platform for a function's address after a refused connection.

        Return whether another attempt makes sense. Raise FunctionUnavailable if the platform
        says that the function does not run, PlatformUnreachable if it does not answer.
        """
        self._pool.forget(failed.server)
        if failed.through_dashboard:
            return False
        nuclio = platform()
        known = self._of(spec, nuclio)
        with known.lock:
            if known.route is not None and known.route != failed:
                return True  # another thread has found a new one
            known.route = None
            if time.monotonic() - known.reread_at < REREAD_S:
                return settings.INVOKE_METHOD != "direct"
            fresh = _read_again(known, spec.id, nuclio)
        if fresh.state in ("building", "error"):
            raise unavailable(fresh)
        return True

    def why_no_address(self, spec: FunctionSpec) -> LambdaError:
        """Return an error that says, by the function's present state, why it has no address.

        Raise FunctionNotFound if the platform does not have the function, PlatformUnreachable if
        it does not answer.
        """
        nuclio = platform()
        known = self._of(spec, nuclio)
        with known.lock:
            fresh = known.fresh
            if fresh is None or time.monotonic() - known.reread_at >= REREAD_S:
                fresh = _read_again(known, spec.id, nuclio)
        if fresh.state == "ready" and not _has_address(fresh.address):
            error = FunctionUnavailable(f"function '{spec.id}' has no address on its platform")
            error.permanent = True
            return error
        return unavailable(fresh)

    def reset(self) -> None:
        """Delete every route."""
        with self._lock:
            self._known.clear()

    def _of(self, spec: FunctionSpec, nuclio: Nuclio) -> _Known:
        key = (spec.id, nuclio.url, nuclio.namespace, settings.INVOKE_METHOD)
        with self._lock:
            return self._known.setdefault(key, _Known())

    def _choose(self, function_id: str, known: _Known, nuclio: Nuclio) -> Route:
        """Return the best route to a function; the caller holds ``known.lock``."""
        method = settings.INVOKE_METHOD
        if method == "direct" or (method == "auto" and not nuclio.encrypted):
            route = self._probed(function_id, known.address, nuclio)
            if route is not None:
                return route
        if method != "direct":
            return dashboard_route(function_id, nuclio)
        # Read the function again: it may have a new address, or its state says why it has none.
        tried, fresh = known.address, self._fresh(known, function_id, nuclio)
        if fresh is None:
            raise PlatformUnreachable(
                f"function '{function_id}' cannot be reached: the function platform does not answer"
            )
        if fresh.state in ("building", "error"):
            raise unavailable(fresh)
        if known.address != tried:
            route = self._probed(function_id, known.address, nuclio)
            if route is not None:
                return route
        raise PlatformUnreachable(f"function '{function_id}' cannot be reached directly")

    def _fresh(self, known: _Known, function_id: str, nuclio: Nuclio) -> FunctionSpec | None:
        """Return the function as the platform has it, at most `REREAD_S` old; None: no answer.

        The caller holds ``known.lock``.
        """
        if time.monotonic() - known.reread_at < REREAD_S:
            return known.fresh
        try:
            return _read_again(known, function_id, nuclio)
        except PlatformUnreachable:
            return None
        except FunctionNotFound as exc:  # it may be deployed again soon
            raise FunctionNotDeployed(
                f"function '{function_id}' is not on its platform now"
            ) from exc

    def _probed(self, function_id: str, address: Address, nuclio: Nuclio) -> Route | None:
        for route in direct_routes(function_id, address, nuclio):
            if self._pool.probe(route.server, _PROBE_S):
                return route
        return None


def _read_again(known: _Known, function_id: str, nuclio: Nuclio) -> FunctionSpec:
    """Read the function from its platform; the caller holds ``known.lock``."""
    known.reread_at, known.fresh = time.monotonic(), None
    fresh = known.fresh = parse_function(nuclio.function(function_id))
    known.address = replace(fresh.address)
    logger.info(
        "function '%s' was read again: it is %s",
        function_id,
        fresh.state,
        extra={"action": "address_refreshed", "function": function_id},
    )
    return fresh


def _has_address(address: Address) -> bool:
    return bool(address.http_port or address.internal_urls or address.external_urls)


def unavailable(spec: FunctionSpec) -> LambdaError:
    """Return an error that says why a function does not run."""
    message = _platform_message(spec)
    if spec.state == "error":
        error = FunctionUnavailable(
            f"function '{spec.id}' could not be deployed"
            f"{message or '; see its message in the administration'}"
        )
        error.permanent = True
        return error
    words = {"building": "is being built", "missing": "is not on its platform now"}
    if spec.state in words:
        return FunctionNotDeployed(f"function '{spec.id}' {words[spec.state]}{message}")
    return FunctionUnavailable(f"function '{spec.id}' is not running")


def _platform_message(spec: FunctionSpec) -> str:
    """Return the platform's own sentence about the state, after a colon; "" if there is none.

    Nuclio begins a long message with a heading such as "Failed to deploy. Details:".
    """
    lines = [line for line in spec.state_message.splitlines() if not line.rstrip().endswith(":")]
    sentence = clean_line("\n".join(lines))
    return f": {sentence}" if sentence else ""


def dashboard_route(function_id: str, nuclio: Nuclio) -> Route:
    """Return the route through the dashboard. Raise PlatformUnreachable if its URL is malformed."""
    try:
        parts = urlsplit(nuclio.url)
        port = parts.port
    except ValueError as exc:
        raise PlatformUnreachable("CVAT_LAMBDA_PLATFORM_URL is malformed") from exc
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise PlatformUnreachable("CVAT_LAMBDA_PLATFORM_URL is not an http or https URL")
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    headers = {**nuclio.authorization(), "x-nuclio-function-name": function_id}
    if nuclio.namespace:
        headers["x-nuclio-function-namespace"] = nuclio.namespace
    return Route(
        server=Server(
            scheme=scheme,
            host=parts.hostname,
            port=port or (443 if scheme == "https" else 80),
        ),
        path=parts.path.rstrip("/") + _INVOCATIONS,
        through_dashboard=True,
        headers=tuple(headers.items()),
    )


def direct_routes(function_id: str, address: Address, nuclio: Nuclio) -> Iterator[Route]:
    """Yield the direct routes to try, the most reliable first, each once.

    Names come before bare addresses and ports: after a restart of containers an address or a port
    may belong to another function.
    """
    for host, port, path in dict.fromkeys(_candidates(function_id, address, nuclio.host)):
        if _is_loopback(host) and not _is_loopback(nuclio.host):
            continue  # the platform's machine means itself; here it would be this machine
        # The platform's token is for the platform's host only. A token that is sent encrypted to
        # the dashboard must not be sent in clear text to a function.
        sent = host == nuclio.host and not nuclio.encrypted
        headers = nuclio.authorization() if sent else {}
        yield Route(server=Server(host=host, port=port), path=path, headers=tuple(headers.items()))


def _candidates(
    function_id: str, address: Address, dashboard: str
) -> Iterator[tuple[str, int, str]]:
    internal = [found for url in address.internal_urls if (found := _split(url))]
    external = [found for url in address.external_urls if (found := _split(url))]
    published = [(dashboard, address.http_port, "/")] if address.http_port else []
    if _is_loopback(dashboard):
        # The platform runs on this machine, and so do its published ports.
        yield from published
        yield from (_here(found, dashboard) for found in external)
        yield from internal
        return
    if internal and all(_is_ip(host) for host, _, _ in internal):
        # Docker: containers of the same network know the name of the function's container.
        yield f"nuclio-{address.namespace or 'nuclio'}-{function_id}", 8080, "/"
    yield from (found for found in internal if not _is_ip(found[0]))
    yield from published
    yield from (_here(found, dashboard) for found in external)
    yield from (found for found in internal if _is_ip(found[0]))


def _here(found: tuple[str, int, str], dashboard: str) -> tuple[str, int, str]:
    """Replace the unspecified address (Docker: all hosts) by the dashboard's host."""
    host, port, path = found
    return (dashboard if host in ("0.0.0.0", "::") else host), port, path


def _split(url: str) -> tuple[str, int, str] | None:
    """Split ``host:port[/path]``; Nuclio's URLs have no scheme."""
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        port = parts.port
    except ValueError:
        return None
    return (parts.hostname, port or 80, parts.path or "/") if parts.hostname else None


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_ip(host) and ipaddress.ip_address(host).is_loopback)
