"""An HTTP server that acts as a function platform and as every function on it.

A function is a Python function of the parsed payload. What it returns is sent as JSON. A
`Reply` is sent unchanged.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_django import Settings

from cvat_lambda.functions import registry
from cvat_lambda.gateway.gateway import get_gateway
from cvat_lambda.gateway.payload import BINARY_TYPE, decode_binary
from cvat_lambda.interactive.caches import get_caches
from tests.http_server import HttpRequest, Reply, http_server, json_reply

Behaviour = Callable[[dict[str, Any]], Any]


@dataclass
class Functions:
    """The platform: its functions, and the payloads of their invocations."""

    port: int = 0
    objects: dict[str, Any] = field(default_factory=dict)
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    request_ids: list[str] = field(default_factory=list)  # of the invocations
    asked: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    revisions: dict[str, str] = field(default_factory=dict)  # sent in a header of the answers
    is_down: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(
        self,
        function_id: str,
        behaviour: Behaviour | None = None,
        **annotations: str,
    ) -> str:
        """Deploy a function and refresh the registry. Return the function's id."""
        self.put(function_id, behaviour, **annotations)
        registry.refresh(force=True)
        return function_id

    def put(
        self,
        function_id: str,
        behaviour: Behaviour | None = None,
        **annotations: str,
    ) -> None:
        """Deploy a function without a refresh of the registry."""
        self.behaviours[function_id] = behaviour or (lambda payload: [])
        attributes = {"maxRequestBodySize": 32 * 1024 * 1024}
        self.objects[function_id] = {
            "metadata": {
                "name": function_id,
                "namespace": "nuclio",
                "annotations": {"name": function_id.title(), **annotations},
            },
            "spec": {
                "description": f"what {function_id} does",
                "triggers": {"http": {"kind": "http", "numWorkers": 2, "attributes": attributes}},
            },
            "status": {"state": "ready", "httpPort": self.port},
        }

    def limit_body(self, function_id: str, size: int) -> None:
        """Let a function accept only bodies of at most `size` bytes. Refresh the registry."""
        trigger = self.objects[function_id]["spec"]["triggers"]["http"]
        trigger["attributes"]["maxRequestBodySize"] = size
        registry.refresh(force=True)

    def clear(self) -> None:
        """Remove all functions and the records of their invocations."""
        self.objects.clear()
        self.behaviours.clear()
        self.asked.clear()
        self.revisions.clear()
        self.is_down = False

    def answer(self, request: HttpRequest) -> Reply:
        return self._read(request) if request.method == "GET" else self._invoke(request)

    def _read(self, request: HttpRequest) -> Reply:
        if self.is_down:
            return Reply(500, "down")
        if request.path == "/api/functions":
            return json_reply(self.objects)
        found = self.objects.get(request.path.rpartition("/")[2])
        return json_reply(found) if found else json_reply({"error": "not found"}, 404)

    def _invoke(self, request: HttpRequest) -> Reply:
        function_id = request.headers["x-nuclio-target"]
        is_binary = request.headers["content-type"] == BINARY_TYPE
        payload = decode_binary(request.body) if is_binary else request.json()
        with self.lock:
            self.asked[function_id].append(payload)
            self.request_ids.append(request.headers.get("x-request-id", ""))
        answer = self.behaviours[function_id](payload)
        reply = answer if isinstance(answer, Reply) else json_reply(answer)
        if revision := self.revisions.get(function_id):
            headers = {**reply.headers, "X-Cvat-Lambda-Revision": revision}
            reply = replace(reply, headers=headers)
        return reply

    def remove(self, function_id: str) -> None:
        """Remove a function from the platform, and refresh the registry."""
        del self.objects[function_id]
        registry.refresh(force=True)


@contextmanager
def serve_functions() -> Iterator[Functions]:
    """Serve a platform on a free port."""
    functions = Functions()
    with http_server(functions.answer) as server:
        functions.port = server.port
        yield functions


@contextmanager
def known_functions(settings: Settings) -> Iterator[Functions]:
    """Serve a platform that the settings name. Reset the gateway and the caches at the end."""
    with serve_functions() as served, known_platform(settings, served):
        yield served


@contextmanager
def known_platform(settings: Settings, platform: Functions) -> Iterator[None]:
    """Let the settings name a running platform. Reset the gateway and the caches at the end."""
    settings.CVAT_LAMBDA_FUNCTIONS_REFRESH_S = 0
    settings.CVAT_LAMBDA_PLATFORM_URL = platform.url
    yield
    get_gateway().reset()
    get_caches().reset()
