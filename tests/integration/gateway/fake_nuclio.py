"""A fake platform: an HTTP server that answers as Nuclio's dashboard and functions.

A test puts functions into ``script``, one for each of the next invocations. If it is empty, the
answer is the JSON ``default``.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[["Handler", bytes], None]


@dataclass
class Seen:
    """One received request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    port: int


class Server(ThreadingHTTPServer):
    """The server, with the state that it shares with the test."""

    daemon_threads = True
    request_queue_size = 128
    fake: FakeNuclio

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.connections: set[socket.socket] = set()

    def get_request(self) -> Any:
        connection, address = super().get_request()
        self.connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        """Close all open connections, as a stopping process does."""
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that abandon calls: the tests do this on purpose."""


@dataclass
class FakeNuclio:
    """The state of the platform."""

    functions: dict[str, Any] = field(default_factory=dict)
    script: list[Behaviour] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    default: Any = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    list_status: int = 200
    is_down: bool = False  # a proxy answers 502 to requests about one function
    token: str = ""
    url: str = ""
    port: int = 0

    def invocations(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.method == "POST"]


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _record(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fake = self.server.fake
        with fake.lock:
            fake.seen.append(
                Seen(
                    method=self.command,
                    path=self.path,
                    headers={name.lower(): value for name, value in self.headers.items()},
                    body=body,
                    port=self.client_address[1],
                )
            )
        return body

    def do_GET(self) -> None:
        self._record()
        fake = self.server.fake
        if fake.token and self.headers.get("Authorization") != f"Bearer {fake.token}":
            return self.answer(403, b'{"error": "forbidden"}')
        if self.path == "/api/functions":
            return self.answer(fake.list_status, json.dumps(fake.functions).encode())
        if fake.is_down:
            return self.answer(502, b"")
        name = self.path.rpartition("/")[2]
        if name in fake.functions:
            return self.answer(200, json.dumps(fake.functions[name]).encode())
        return self.answer(404, b'{"error": "Function not found"}')

    def do_PUT(self) -> None:
        raw = json.loads(self._record())
        self.server.fake.functions[raw["metadata"]["name"]] = raw
        self.answer(202, b"")

    def do_DELETE(self) -> None:
        raw = json.loads(self._record())
        self.server.fake.functions.pop(raw["metadata"]["name"], None)
        self.answer(204, b"")

    def do_POST(self) -> None:
        body = self._record()
        fake = self.server.fake
        with fake.lock:
            behaviour = fake.script.pop(0) if fake.script else None
        fake.arrived.set()
        if behaviour is None:
            self.answer(200, json.dumps(fake.default).encode())
        else:
            behaviour(self, body)

    def answer(
        self,
        status: int,
        body: bytes,
        *,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def answers(status: int, body: bytes | str = b"", **options: Any) -> Behaviour:
    """Return a step of the script that sends this answer."""
    data = body.encode() if isinstance(body, str) else body
    return lambda handler, _: handler.answer(status, data, **options)


def resets(handler: Handler, body: bytes) -> None:
    """Reset the connection (RST) instead of answering."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.close_connection = True
    handler.connection.close()


def hangs(handler: Handler, body: bytes) -> None:
    """Answer after the test releases it."""
    handler.server.fake.release.wait(30)
    handler.answer(200, b"[]")


def chunks(handler: Handler, body: bytes) -> None:
    """Answer in chunks."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for part in (b'[{"label"', b': "car"}]'):
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
    handler.wfile.write(b"0\r\n\r\n")


def breaks_off(handler: Handler, body: bytes) -> None:
    """End the connection within the answer."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b"[1, 2")
    handler.close_connection = True


def trickles(handler: Handler, body: bytes) -> None:
    """Send single bytes without end. Each read of a byte is within the time limit."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while not handler.server.fake.release.wait(0.02):
        handler.wfile.write(b" ")


def speaks_nonsense(handler: Handler, body: bytes) -> None:
    """Answer with something that is not HTTP."""
    handler.connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
    handler.close_connection = True


@contextmanager
def fake_nuclio() -> Iterator[FakeNuclio]:
    """Run the platform on a free port."""
    server = Server(("127.0.0.1", 0), Handler)
    port = server.server_address[1]
    fake = FakeNuclio(url=f"http://127.0.0.1:{port}", port=port)
    server.fake = fake
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield fake
    finally:
        fake.release.set()
        server.shutdown()
        thread.join()
        server.server_close()
        server.end_connections()


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
