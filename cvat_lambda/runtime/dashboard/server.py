"""The dashboard: an HTTP server for the REST API, the calls of functions and the metrics."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from cvat_lambda.runtime.authorization import RequestAuthorizer
from cvat_lambda.runtime.dashboard.invocation import InvocationRoutes
from cvat_lambda.runtime.dashboard.metrics import exposition
from cvat_lambda.runtime.dashboard.platform_info import PlatformInfoRoutes
from cvat_lambda.runtime.dashboard.rest import FunctionRoutes, ProjectRoutes
from cvat_lambda.runtime.deploy.supervisor import Supervisor
from cvat_lambda.runtime.errors import RuntimeFault

MAX_BODY: Final = 2**30  # bytes; each function has a lower limit of its own
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
logger = logging.getLogger(__name__)


def make_app(supervisor: Supervisor, *, host: str, token: str) -> web.Application:
    """Return the dashboard's application on an address. With an empty token none is needed."""
    app = web.Application(
        middlewares=[_errors_as_json, _guarded(RequestAuthorizer(token))],
        client_max_size=MAX_BODY,
        handler_args={"auto_decompress": False},
    )
    FunctionRoutes(supervisor).add_to(app)
    ProjectRoutes(supervisor).add_to(app)
    InvocationRoutes(supervisor).add_to(app)
    PlatformInfoRoutes(host).add_to(app)

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


def _guarded(authorizer: RequestAuthorizer) -> Middleware:
    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        rejection = authorizer.rejection(request.host, request.headers)
        return await handler(request) if rejection is None else _error(*rejection)

    return check


def _error(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": sentence, "errorStackTrace": ""}, status=status)
