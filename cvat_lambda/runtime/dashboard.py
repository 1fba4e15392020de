"""The dashboard: one HTTP server that carries the REST API, the invocation path and the metrics."""

from __future__ import annotations

import hmac
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from .errors import RuntimeFault
from .invocation import InvocationRoutes
from .metrics import exposition
from .rest import SLASH, FunctionRoutes, ProjectRoutes, namespaces, versions
from .supervisor import Supervisor

MAX_BODY: Final = 2**30  # bytes; the function's own limit is the one that counts
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
logger = logging.getLogger(__name__)


def make_app(supervisor: Supervisor, *, token: str) -> web.Application:
    """Return the dashboard's application; an empty token asks for none."""
    app = web.Application(
        middlewares=[_errors_as_json, _door(token)],
        client_max_size=MAX_BODY,
        handler_args={"auto_decompress": False},
    )
    FunctionRoutes(supervisor).add_to(app)
    ProjectRoutes(supervisor.projects).add_to(app)
    InvocationRoutes(supervisor).add_to(app)
    app.router.add_get("/api/versions" + SLASH, versions)
    app.router.add_get("/api/namespaces" + SLASH, namespaces)

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(text=await exposition(supervisor.list()), content_type="text/plain")

    app.router.add_get("/metrics", metrics)
    return app


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RuntimeFault as exc:
        return _error(exc.status_code, str(exc))
    except web.HTTPException:
        raise
    except Exception:
        logger.exception("%s %s failed", request.method, request.path)
        return _error(500, "Internal error: see the runtime's log")


def _door(token: str) -> Middleware:
    """Let in who has the token; without one, who is no web page of somebody else's.

    A page in a browser may send requests to the loopback address, and a deployment runs code: so
    a foreign Origin and a Host that is no address of this machine (DNS rebinding) are refused.
    """
    wanted = f"Bearer {token}".encode()

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if token:
            given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
            if not hmac.compare_digest(given, wanted):
                return _error(401, "A token is needed: Authorization: Bearer <token>")
        elif not _is_local(request.host) or not _is_same_origin(request):
            return _error(403, "Without a token, only programs of this machine are answered")
        return await handler(request)

    return check


def _is_local(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_same_origin(request: web.Request) -> bool:
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host


def _error(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": sentence, "errorStackTrace": ""}, status=status)
