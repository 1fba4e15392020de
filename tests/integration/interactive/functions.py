"""A threaded HTTP server that acts as a function platform and as every function on it.

A function is a Python function of the parsed payload. What it returns is sent as JSON. A
`RawAnswer` is sent unchanged.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pytest_django import Settings

from cvat_lambda.functions import registry
from cvat_lambda.gateway.gateway import get_gateway
from cvat_lambda.interactive.caches import get_caches


@dataclass(frozen=True)
class RawAnswer:
    """An HTTP answer that is sent unchanged."""

    status: int
    body: str = ""


Behaviour = Callable[[dict[str, Any]], Any]


@dataclass
class Functions:
    """The platform: its functions, and the payloads of their invocations."""

    port: int
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

    def remove(self, function_id: str) -> None:
        """Remove a function from the platform, and refresh the registry."""
        del self.objects[function_id]
        registry.refresh(force=True)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    functions: Functions

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        functions = self.server.functions
        if functions.is_down:
            self._answer(500, "down")
        elif self.path == "/api/functions":
            self._answer(200, json.dumps(functions.objects))
        else:
            found = functions.objects.get(self.path.rpartition("/")[2])
            self._answer(200 if found else 404, json.dumps(found or {"error": "not found"}))

    def do_POST(self) -> None:
        payload = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        functions, function_id = self.server.functions, self.headers["X-Nuclio-Target"]
        with functions.lock:
            functions.asked[function_id].append(payload)
            functions.request_ids.append(self.headers["X-Request-Id"])
        answer = functions.behaviours[function_id](payload)
        revision = functions.revisions.get(function_id, "")
        if isinstance(answer, RawAnswer):
            self._answer(answer.status, answer.body, revision)
        else:
            self._answer(200, json.dumps(answer), revision)

    def _answer(self, status: int, text: str, revision: str = "") -> None:
        body = text.encode()
        self.send_response(status)
        if revision:
            self.send_header("X-Cvat-Lambda-Revision", revision)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serve_functions() -> Iterator[Functions]:
    """Serve a platform on a free port."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.functions = Functions(port=server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.functions
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


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
