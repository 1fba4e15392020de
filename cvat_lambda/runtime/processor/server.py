"""The HTTP server on a function's port: each request becomes one event for one worker."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict

from cvat_lambda.runtime.authorization import RequestAuthorizer
from cvat_lambda.runtime.processor.errors import (
    EventTimedOut,
    NoWorkerFree,
    StartFailed,
    WorkerEnded,
)
from cvat_lambda.runtime.processor.events import MalformedCloudEvent, make_event
from cvat_lambda.runtime.processor.settings import ProcessorSettings
from cvat_lambda.runtime.processor.worker_pool import WorkerPool
from cvat_lambda.runtime.processor.worker_process import Slot
from cvat_lambda.runtime.worker.frames import Meta

REVISION_HEADER: Final = "X-Cvat-Lambda-Revision"  # of the version that answered
HEALTH_PATH: Final = "/__internal/health"
MAX_LOGS_HEADER: Final = 4096  # bytes, as in Nuclio
_LEVELS: Final = ("debug", "info", "warn", "error")


class BodyTooLarge(Exception):
    """The body is longer than maxRequestBodySize."""


class FunctionServer:
    """Answers the HTTP requests of one function."""

    def __init__(self, settings: ProcessorSettings, pool: WorkerPool) -> None:
        self._settings = settings
        self._pool = pool
        self._authorizer = RequestAuthorizer(settings.token)
        self.draining = False
        self._open = 0  # requests whose answer is not written yet
        self._unsent: set[asyncio.Transport] = set()  # transports with an answer in their buffer

    @property
    def busy(self) -> bool:
        """Whether a request is being answered, up to the last byte of the answer."""
        return self._open > 0 or any(item.get_write_buffer_size() for item in self._unsent)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        self._open += 1
        transport = request.transport
        try:
            response = await self._respond(request)
            if self.draining:
                response.force_close()
            # Sent here, not by aiohttp afterwards, so that `busy` is exact.
            with contextlib.suppress(ConnectionError):  # the client has closed the connection
                await response.prepare(request)
                await response.write_eof()
            return response
        finally:
            self._open -= 1
            if transport is not None and transport.get_write_buffer_size():
                kept = {item for item in self._unsent if item.get_write_buffer_size()}
                self._unsent = kept | {transport}

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.startswith(HEALTH_PATH):
            return web.Response()
        if head_size(request) > self._settings.header_limit:
            return _closing(431, "Too big request header")
        rejection = self._authorizer.rejection(request.host, request.headers)
        if rejection is not None:
            return _closing(*rejection)
        try:
            body = await self._read_body(request)
        except (BodyTooLarge, HttpProcessingError, web.RequestPayloadError):
            return _closing(400, "Error when parsing request")
        except (ConnectionResetError, asyncio.IncompleteReadError):
            return web.Response(status=499)  # the client sent a part of the body
        try:
            event, body = make_event(
                request,
                body,
                trigger=self._settings.trigger,
                hide_authorization=bool(self._settings.token),
            )
        except MalformedCloudEvent:
            return _closing(400, "Error when parsing request")
        return await self._invoke(request, event, body)

    async def _read_body(self, request: web.BaseRequest) -> bytes:
        limit = self._settings.max_body
        length = request.content_length
        if length is not None and length > limit:
            raise BodyTooLarge
        if request.headers.get("Expect", "").lower() == "100-continue":
            assert request.transport is not None
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not request.body_exists:
            return b""
        if length is not None:
            return await request.content.readexactly(length)
        parts, total = [], 0
        async for part in request.content.iter_any():
            total += len(part)
            if total > limit:
                raise BodyTooLarge
            parts.append(part)
        return b"".join(parts)

    async def _invoke(
        self, request: web.BaseRequest, event: Meta, body: bytes
    ) -> web.StreamResponse:
        try:
            slot = await self._pool.take()
        except NoWorkerFree:
            return web.Response(status=503)
        except StartFailed as exc:
            return _text(500, f"The function could not be started from zero - {exc}")
        if request.transport is None or request.transport.is_closing():
            # The client has closed the connection: do not run the handler.
            self._pool.give_back(slot)
            return web.Response(status=499)
        slot.request_id = request.headers.get("X-Request-Id", "")
        level = request.headers.get("X-Nuclio-Log-Level", "").lower()
        slot.captured = [] if level in _LEVELS else None
        try:
            meta, answer = await self._pool.call(slot, event, body)
            return self._answered(meta, answer, slot, level)
        except EventTimedOut:
            return _text(408, json.dumps({"error": "handler timed out"}))
        except WorkerEnded as exc:
            return _text(502, f"Worker crashed - {exc}")
        finally:
            slot.captured = None
            slot.request_id = ""

    def _answered(self, meta: Meta, body: bytes, slot: Slot, level: str) -> web.StreamResponse:
        headers = CIMultiDict({"Server": "nuclio", REVISION_HEADER: self._settings.revision})
        for key, value in _safe_headers(meta["headers"]).items():
            headers[key] = value  # the last of several equal names is used
        headers["Content-Type"] = meta["content_type"] or "text/plain"
        if slot.captured is not None:
            logs = logs_header(slot.captured, level, self._settings.trigger, slot.number)
            if logs is not None:
                headers["X-Nuclio-Logs"] = logs
        if self._settings.full_errors and "traceback" in meta:
            body += f": {meta['traceback']}".encode("utf-8", "backslashreplace")
        return web.Response(status=meta["status"], body=body, headers=headers)


def head_size(request: web.BaseRequest) -> int:
    """Return the approximate size of a request's head in bytes."""
    size = len(request.method) + len(request.raw_path) + 12
    return size + sum(len(key) + len(value) + 4 for key, value in request.raw_headers)


def logs_header(records: list[Meta], level: str, trigger: str, worker: int) -> str | None:
    """Return the value of X-Nuclio-Logs, or None if it is too long to be sent."""
    least = _LEVELS.index(level)
    shown = [
        {
            "level": record["level"],
            "time": record.get("at", 0) * 1000,
            "name": trigger,
            "message": record["message"],
            "worker_id": str(worker),
            **({"with": record["with"]} if record["with"] else {}),
        }
        for record in records
        if record["level"] in _LEVELS and _LEVELS.index(record["level"]) >= least
    ]
    value = json.dumps(shown, separators=(",", ":"))
    return value if len(value) < MAX_LOGS_HEADER else None


def _safe_headers(headers: dict[str, Any]) -> dict[str, str]:
    """Drop headers that would break the framing of the answer."""
    return {
        key: value
        for key, value in headers.items()
        if key.lower() not in ("content-length", "transfer-encoding", "connection")
        and not any(char in key + value for char in "\r\n\0")
    }


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text, headers={"Server": "nuclio"})


def _closing(status: int, text: str) -> web.Response:
    response = _text(status, text)
    response.force_close()
    return response
