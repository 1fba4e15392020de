"""The HTTP server that stands for functions, platforms, webhooks and web sites in tests.

    with http_server(lambda request: json_reply({"path": request.path})) as server:
        requests.get(server.url)
    assert server.requests[0].method == "GET"

The answer is a `Reply`, or a function that writes to the connection itself. This module has
functions for connections that are cut, answers that are slow, and answers that are not HTTP.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeAlias

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class HttpRequest:
    """One received request."""

    method: str
    path: str  # with the query
    headers: dict[str, str]  # by lower-case names
    body: bytes
    client_port: int
    begun_at: float  # monotonic time before the body was read

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """A complete answer. Its default is empty JSON with status 200."""

    status: int = 200
    body: bytes | str = b""
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)


class Connection(BaseHTTPRequestHandler):
    """The connection of one request. `wfile` writes to it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: HttpServer

    def handle_request(self) -> None:
        begun_at = time.monotonic()
        request = HttpRequest(
            method=self.command,
            path=self.path,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(int(self.headers.get("Content-Length", 0))),
            client_port=self.client_address[1],
            begun_at=begun_at,
        )
        self.server.requests.append(request)
        answer = self.server.answer(request)
        if isinstance(answer, Reply):
            self.reply(answer)
        else:
            answer(self)

    do_DELETE = do_GET = do_HEAD = do_PATCH = do_POST = do_PUT = handle_request  # noqa: N815

    def reply(self, reply: Reply) -> None:
        body = reply.body.encode() if isinstance(reply.body, str) else reply.body
        length = {} if reply.status == 204 else {"Content-Length": str(len(body))}
        self.begin(reply.status, {**reply.headers, **length})
        if self.command != "HEAD":
            self.wfile.write(body)

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the status and the headers."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


Answer: TypeAlias = "Reply | Callable[[Connection], None]"


class HttpServer(ThreadingHTTPServer):
    """A server on the loopback interface. It records the requests."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answer: Callable[[HttpRequest], Answer], port: int) -> None:
        super().__init__(("127.0.0.1", port), Connection)
        self.answer = answer
        self.port = self.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self.requests: list[HttpRequest] = []
        self.released = threading.Event()  # ends answers that wait
        self._connections: set[socket.socket] = set()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        if isinstance(request, socket.socket):
            self._connections.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        """Close all open connections, as a stopping process does."""
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that end their connection. Print any other error."""
        if not isinstance(sys.exc_info()[1], (OSError, ValueError)):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextmanager
def http_server(answer: Callable[[HttpRequest], Answer], *, port: int = 0) -> Iterator[HttpServer]:
    """Serve until the block ends. Port 0 means a free port."""
    server = HttpServer(answer, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
        server.end_connections()


def json_reply(value: object, status: int = 200) -> Reply:
    """Return an answer with a value as JSON."""
    return Reply(status, json.dumps(value))


def files_of(folder: Path) -> Callable[[HttpRequest], Reply]:
    """Return an answer to each request: a file of the folder, or the links of a subfolder."""

    def answer(request: HttpRequest) -> Reply:
        path = folder / request.path.partition("?")[0].strip("/")
        if path.is_file():
            return Reply(body=path.read_bytes(), headers={})
        if path.is_dir():
            links = [f'<a href="{entry.name}">{entry.name}</a>' for entry in path.iterdir()]
            return Reply(body="\n".join(links), headers={"Content-Type": "text/html"})
        return Reply(404, "Not Found")

    return answer


def resets(connection: Connection) -> None:
    """Reset the connection (RST) instead of answering."""
    linger = struct.pack("ii", 1, 0)
    connection.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connection.close_connection = True
    connection.connection.close()


def hangs(connection: Connection) -> None:
    """Answer an empty list when the test sets `released`, or after 30 s."""
    connection.server.released.wait(30)
    connection.reply(json_reply([]))


def chunks(connection: Connection) -> None:
    """Answer in chunks."""
    connection.begin(200, {"Transfer-Encoding": "chunked"})
    for part in (b'[{"label"', b': "car"}]'):
        connection.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
    connection.wfile.write(b"0\r\n\r\n")


def cut_after(size: int, body: bytes, *, status: int = 200) -> Callable[[Connection], None]:
    """Return a function that ends the connection after `size` bytes of the body."""

    def answer(connection: Connection) -> None:
        connection.begin(status, {"Content-Length": str(len(body))})
        connection.wfile.write(body[:size])
        connection.close_connection = True

    return answer


def trickles(connection: Connection) -> None:
    """Send single bytes without end. Each read of a byte is within the time limit."""
    connection.begin(200, {"Content-Length": "100000"})
    while not connection.server.released.wait(0.02):
        connection.wfile.write(b" ")


def speaks_nonsense(connection: Connection) -> None:
    """Answer with something that is not HTTP."""
    connection.connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
    connection.close_connection = True
