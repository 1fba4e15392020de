"""``/api/function_invocations``: the dashboard passes calls on to the port of a function."""

from __future__ import annotations

import asyncio
import json
from typing import Final

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from cvat_lambda.runtime.deploy.supervisor import Supervisor
from cvat_lambda.runtime.spec.quantities import parse_duration

DEFAULT_TIMEOUT_S: Final = 60.0
_HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "host", "content-length", "expect"}
    | {"origin"}  # the dashboard has checked it against its own address
)


class InvocationRoutes:
    """Passes requests and answers on unchanged."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._session: aiohttp.ClientSession | None = None

    def add_to(self, app: web.Application) -> None:
        """Register the routes and open the connection pool with the app."""
        app.router.add_route("*", "/api/function_invocations", self.invoke)
        app.router.add_route("*", "/api/function_invocations/{rest:.*}", self.invoke)
        app.cleanup_ctx.append(self._with_session)

    async def _with_session(self, _app: web.Application):  # type: ignore[no-untyped-def]
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
        async with aiohttp.ClientSession(
            connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as self._session:
            yield

    async def invoke(self, request: web.Request) -> web.Response:
        """Call the function that the headers name."""
        name = request.headers.get("x-nuclio-function-name", "")
        if not name:
            return _fault(400, "Function name must be provided")
        try:
            timeout_s = _timeout(request.headers.get("x-nuclio-invoke-timeout"))
        except ValueError as exc:
            # Nuclio answers 400 and calls the function all the same. This runtime does not call it.
            return _fault(400, f"Invalid invoke timeout: {exc}")
        found = self._supervisor.list(name=name)
        if not found:
            namespace = request.headers.get("x-nuclio-function-namespace", "nuclio")
            fault = _fault(
                404, f"Failed to invoke function: Function not found: {name} @ {namespace}"
            )
            fault.headers["X-Cvat-Lambda-Unknown-Function"] = "true"
            return fault
        address = found[0].address
        wanted = request.headers.get("x-nuclio-invoke-url")
        if wanted and wanted not in (address, found[0].published):
            return _fault(400, f"Failed to invoke function: Invalid function url {wanted}")
        if address is None:
            return _fault(500, "Failed to invoke function: Invocation URL is required")
        return await self._pass_on(request, address, name, timeout_s)

    async def _pass_on(
        self, request: web.Request, address: str, name: str, timeout_s: float
    ) -> web.Response:
        assert self._session is not None
        path = request.headers.get("x-nuclio-path", "").lstrip("/")
        body = None if request.method == "GET" else await request.read()
        try:
            async with self._session.request(
                request.method,
                f"http://{address}/{path}",
                data=body,
                headers=_forwarded(request, name),
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                skip_auto_headers=("User-Agent", "Content-Type", "Accept-Encoding"),
            ) as answer:
                content = await answer.read()
                headers = _kept(answer.headers)
                return web.Response(status=answer.status, body=content, headers=headers)
        except asyncio.TimeoutError:
            return _fault(500, f"Failed to invoke function: no answer within {timeout_s:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            return _fault(500, f"Failed to invoke function: {exc}")


def _timeout(text: str | None) -> float:
    if text is None or text == "":
        return DEFAULT_TIMEOUT_S
    seconds = parse_duration(text)
    if seconds <= 0:
        raise ValueError(f"{text!r} is not longer than 0")
    return seconds


def _forwarded(request: web.Request, name: str) -> CIMultiDict[str]:
    headers = CIMultiDict(
        (key, value) for key, value in request.headers.items() if key.lower() not in _HOP_BY_HOP
    )
    headers["X-Nuclio-Target"] = name
    return headers


def _kept(headers: object) -> CIMultiDict[str]:
    """Keep the first value of each header, and no header of Nuclio itself."""
    assert hasattr(headers, "items")
    kept: CIMultiDict[str] = CIMultiDict()
    for key, value in headers.items():
        lower = key.lower()
        if lower in _HOP_BY_HOP or lower.startswith("x-nuclio") or key in kept:
            continue
        kept[key] = value
    return kept


def _fault(status: int, sentence: str) -> web.Response:
    return web.Response(
        status=status,
        text=json.dumps({"error": sentence}),
        content_type="application/json",
    )
