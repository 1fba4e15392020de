"""A fake platform: an HTTP server that answers as Nuclio's dashboard and functions.

A test puts answers into ``script``, one for each of the next invocations. If it is empty, the
answer is the JSON ``default``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.http_server import Answer, HttpRequest, HttpServer, Reply, http_server, json_reply


@dataclass
class FakeNuclio:
    """The state of the platform."""

    functions: dict[str, Any] = field(default_factory=dict)
    script: list[Answer] = field(default_factory=list)
    default: Any = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    list_status: int = 200
    is_down: bool = False  # a proxy answers 502 to requests about one function
    token: str = ""
    server: HttpServer = field(init=False)

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def seen(self) -> list[HttpRequest]:
        return self.server.requests

    def invocations(self) -> list[HttpRequest]:
        return [seen for seen in self.seen if seen.method == "POST"]

    def answer(self, request: HttpRequest) -> Answer:
        if request.method == "GET":
            return self._read(request)
        if request.method == "POST":
            return self._invoke()
        raw = request.json()
        if request.method == "PUT":
            self.functions[raw["metadata"]["name"]] = raw
            return Reply(202)
        self.functions.pop(raw["metadata"]["name"], None)
        return Reply(204)

    def _read(self, request: HttpRequest) -> Reply:
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return json_reply({"error": "forbidden"}, 403)
        if request.path == "/api/functions":
            return json_reply(self.functions, self.list_status)
        if self.is_down:
            return Reply(502)
        name = request.path.rpartition("/")[2]
        if name in self.functions:
            return json_reply(self.functions[name])
        return json_reply({"error": "Function not found"}, 404)

    def _invoke(self) -> Answer:
        with self.lock:
            answer = self.script.pop(0) if self.script else json_reply(self.default)
        self.arrived.set()
        return answer


@contextmanager
def fake_nuclio() -> Iterator[FakeNuclio]:
    """Run the platform on a free port."""
    fake = FakeNuclio()
    with http_server(fake.answer) as fake.server:
        yield fake


def function_object(name: str, /, **annotations: Any) -> dict[str, Any]:
    """Return a deployed detector as the dashboard returns it."""
    return {
        "metadata": {
            "name": name,
            "namespace": "nuclio",
            "annotations": {
                "type": "detector",
                "name": name.title(),
                "spec": '[{"name": "car", "type": "rectangle"}]',
                **annotations,
            },
        },
        "spec": {
            "description": "finds things",
            "eventTimeout": "",
            "triggers": {"http": {"kind": "http", "numWorkers": 2}},
        },
        "status": {"state": "ready"},
    }
