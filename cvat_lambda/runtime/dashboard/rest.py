"""The dashboard's REST API, as Nuclio 1.14.1 serves it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from cvat_lambda.runtime.dashboard.platform_info import OPTIONAL_SLASH
from cvat_lambda.runtime.deploy.deployment import Deployment
from cvat_lambda.runtime.deploy.supervisor import Supervisor
from cvat_lambda.runtime.errors import BadRequest, NotFound
from cvat_lambda.runtime.logs import read_log
from cvat_lambda.runtime.spec.fields import JsonObject
from cvat_lambda.runtime.spec.quantities import parse_duration

CREATION_TIMEOUT_S: Final = 60.0
_FOLLOW_POLL_INTERVAL_S: Final = 0.2


class FunctionRoutes:
    """``/api/functions``."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def add_to(self, app: web.Application) -> None:
        """Register the routes."""
        app.router.add_get("/api/functions" + OPTIONAL_SLASH, self.list)
        app.router.add_get("/api/functions/{name}" + OPTIONAL_SLASH, self.get)
        app.router.add_post("/api/functions" + OPTIONAL_SLASH, self.create)
        app.router.add_put("/api/functions/{name}" + OPTIONAL_SLASH, self.update)
        app.router.add_patch("/api/functions/{name}" + OPTIONAL_SLASH, self.patch)
        app.router.add_delete("/api/functions" + OPTIONAL_SLASH, self.delete)
        app.router.add_get("/api/functions/{name}/replicas" + OPTIONAL_SLASH, self.replicas)
        app.router.add_get("/api/functions/{name}/logs/{replica}" + OPTIONAL_SLASH, self.logs)

    async def list(self, request: web.Request) -> web.Response:
        """Answer an object keyed by function name."""
        found = self._supervisor.list(
            request.headers.get("x-nuclio-project-name") or None,
            request.headers.get("x-nuclio-function-name") or None,
        )
        return _json({item.name: _shown(item, request) for item in found})

    async def get(self, request: web.Request) -> web.Response:
        """Answer one function object."""
        deployment = self._supervisor.get(request.match_info["name"])
        project = request.headers.get("x-nuclio-project-name")
        if project and project not in ("*", deployment.project):
            raise NotFound("Function not found")
        return _json(_shown(deployment, request))

    async def create(self, request: web.Request) -> web.Response:
        """Deploy a new function: 202 and no body."""
        deployment = await self._supervisor.create(await _read_json(request))
        return await self._accepted(request, deployment)

    async def update(self, request: web.Request) -> web.Response:
        """Update a function: 202 and no body. As in Nuclio, the name in the body counts."""
        deployment = await self._supervisor.update(await _read_json(request))
        return await self._accepted(request, deployment)

    async def patch(self, request: web.Request) -> web.Response:
        """Scale to zero, or back."""
        deployment = self._supervisor.get(request.match_info["name"])
        wish = (await _read_json(request)).get("desiredState")
        if wish is None:
            return web.Response(status=204)
        if wish not in ("ready", "scaledToZero"):
            raise BadRequest(f"desiredState {wish!r} is not supported: ready or scaledToZero")
        await deployment.scale(wish)
        return _no_content(202)

    async def delete(self, request: web.Request) -> web.Response:
        """Remove the function that the body names: 204, even if it does not exist."""
        metadata = (await _read_json(request)).get("metadata")
        if not isinstance(metadata, dict) or not metadata.get("name"):
            raise BadRequest("Function name must be provided in metadata")
        ignore = _is_true(request, "x-nuclio-delete-function-ignore-state-validation")
        await self._supervisor.remove(str(metadata["name"]), ignore_state=ignore)
        return web.Response(status=204)

    async def replicas(self, request: web.Request) -> web.Response:
        """Answer the one replica that a function has here."""
        return _json({"names": [_replica(self._supervisor.get(request.match_info["name"]))]})

    async def logs(self, request: web.Request) -> web.StreamResponse:
        """Answer the function's log as text. New lines follow unless ``follow=false``."""
        deployment = self._supervisor.get(request.match_info["name"])
        if request.match_info["replica"] != _replica(deployment):
            raise BadRequest(f"Replica does not belong to function {deployment.name}")
        lines = _optional_int(request.query.get("tailLines"), "tailLines")
        since = _ago(request.query.get("since"))
        text, end = await asyncio.to_thread(read_log, deployment.log_path, lines, since)
        if request.query.get("follow", "true").lower() in ("false", "0"):
            return web.Response(body=text, headers={"Content-Type": "text/plain"})
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        with contextlib.suppress(ConnectionError):  # the client may leave at any time
            await response.prepare(request)
            await response.write(text)
            async for more in _following(deployment, request, end):
                await response.write(more)
        return response

    async def _accepted(self, request: web.Request, deployment: Deployment) -> web.Response:
        if _is_true(request, "x-nuclio-wait-function-action"):
            await deployment.wait_until_settled(CREATION_TIMEOUT_S * 10)
        return _no_content(202)


class ProjectRoutes:
    """``/api/projects``."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._projects = supervisor.projects
        self._supervisor = supervisor

    def add_to(self, app: web.Application) -> None:
        """Register the routes."""
        app.router.add_get("/api/projects" + OPTIONAL_SLASH, self.list)
        app.router.add_get("/api/projects/{name}" + OPTIONAL_SLASH, self.get)
        app.router.add_post("/api/projects" + OPTIONAL_SLASH, self.create)
        app.router.add_put("/api/projects" + OPTIONAL_SLASH, self.update)
        app.router.add_put("/api/projects/{name}" + OPTIONAL_SLASH, self.update)
        app.router.add_delete("/api/projects" + OPTIONAL_SLASH, self.delete)

    async def list(self, request: web.Request) -> web.Response:
        """Answer an object keyed by project name."""
        wanted = request.headers.get("x-nuclio-project-name")
        found = self._projects.all()
        return _json(
            {
                key: self._shown(value, request)
                for key, value in found.items()
                if wanted in (None, key)
            }
        )

    async def get(self, request: web.Request) -> web.Response:
        """Answer one project."""
        return _json(self._shown(self._projects.get(request.match_info["name"]), request))

    async def create(self, request: web.Request) -> web.Response:
        """Make a project: 201 with the object."""
        return _json(self._projects.create(await _read_json(request)), status=201)

    async def update(self, request: web.Request) -> web.Response:
        """Change a project: 204."""
        self._projects.update(await _read_json(request), request.match_info.get("name"))
        return web.Response(status=204)

    async def delete(self, request: web.Request) -> web.Response:
        """Remove the project that the body names: 204; 412 while it has functions."""
        self._projects.delete(await _read_json(request))
        return web.Response(status=204)

    def _shown(self, project: JsonObject, request: web.Request) -> JsonObject:
        if not _is_export(request):
            return project
        metadata = {key: value for key, value in project["metadata"].items() if key != "namespace"}
        inside = self._supervisor.list(project=metadata["name"])
        return {
            "project": {**project, "metadata": metadata},
            "functions": {item.name: _shown(item, request) for item in inside},
            "functionEvents": {},
            "apiGateways": {},
        }


async def _following(
    deployment: Deployment, request: web.Request, position: int
) -> AsyncIterator[bytes]:
    """Yield new lines of a log from `position` on, until the function is removed or the client
    has left.
    """
    path, missed = deployment.log_path, 0
    while request.transport is not None and not request.transport.is_closing():
        await asyncio.sleep(_FOLLOW_POLL_INTERVAL_S)
        size = _size(path)
        missed = missed + 1 if size is None else 0
        if missed > 1:
            return  # it was deleted, not only rotated
        if size is None:
            continue
        if size < position:
            position = 0  # the file was rotated
        if size > position:
            with path.open("rb") as file:
                file.seek(position)
                more = file.read()
            position += len(more)
            yield more


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _shown(deployment: Deployment, request: web.Request) -> JsonObject:
    shown = deployment.to_object()
    if _is_export(request):
        state = shown.pop("status")["state"]
        shown["metadata"].pop("namespace", None)
        annotations = shown["metadata"].setdefault("annotations", {})
        annotations.update({"skip-build": "true", "skip-deploy": "true"})
        annotations["nuclio.io/previous-state"] = state
    return shown


def _is_export(request: web.Request) -> bool:
    return request.query.get("export", "").lower() in ("true", "1", "t")


def _replica(deployment: Deployment) -> str:
    return f"nuclio-{deployment.namespace}-{deployment.name}"


async def _read_json(request: web.Request) -> JsonObject:
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError) as exc:
        raise BadRequest(f"Failed to parse JSON body: {exc}") from exc
    if not isinstance(body, dict):
        raise BadRequest("Failed to parse JSON body: it is not an object")
    return body


def _optional_int(text: str | None, name: str) -> int | None:
    if text is None or text == "":
        return None
    try:
        return max(0, int(text))
    except ValueError:
        raise BadRequest(f"{name} {text!r} is not a number") from None


def _ago(text: str | None) -> datetime | None:
    if text is None or text == "":
        return None
    try:
        return datetime.now(timezone.utc) - timedelta(seconds=parse_duration(text))
    except (ValueError, OverflowError):
        raise BadRequest(f"since {text!r} is not a duration such as 10m") from None


def _is_true(request: web.Request, header: str) -> bool:
    return request.headers.get(header, "").lower() == "true"


def _json(value: Any, *, status: int = 200) -> web.Response:
    return web.json_response(value, status=status)


def _no_content(status: int) -> web.Response:
    return web.Response(status=status, headers={"Content-Type": "application/json"})
