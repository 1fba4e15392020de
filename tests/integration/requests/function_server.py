"""A threaded HTTP server that acts as a function. A Python callable computes its answers."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image


@dataclass(frozen=True)
class Reply:
    """An HTTP answer of the function. Any other value is sent as JSON."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


Behaviour = Callable[[dict[str, Any]], Any]


class Server(ThreadingHTTPServer):
    """The server, with the state that it shares with the test."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that abandon calls: the tests do this on purpose."""


@dataclass
class FunctionServer:
    """A running function. ``behave`` answers, ``seen`` has the frames in order of arrival."""

    url: str = ""
    behave: Behaviour = lambda payload: rectangle_of(frame_of(payload))
    seen: list[int] = field(default_factory=list)
    payloads: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    most_at_once: int = 0
    at_once: int = 0


def frame_of(payload: dict[str, Any], key: str = "image") -> int:
    """Return the frame number of a payload's image, which its colour encodes."""
    image = Image.open(io.BytesIO(base64.b64decode(payload[key])))
    red, green, _ = image.convert("RGB").tobytes()[:3]
    return red + 256 * green


def rectangle_of(frame: int, *, label: str = "car", score: float = 0.75) -> list[dict[str, Any]]:
    """Return one rectangle whose coordinates encode the frame number."""
    left = frame % 40
    return [
        {
            "label": label,
            "type": "rectangle",
            "points": [left, 1, left + 10, 11],
            "confidence": score,
        }
    ]


@contextmanager
def function_server() -> Iterator[FunctionServer]:
    """Serve on a free port until the block ends."""
    shared = FunctionServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with shared.lock:
                shared.payloads.append(
                    {key: value for key, value in payload.items() if not key.startswith("image")}
                )
                for key in ("image", "image0"):
                    if key in payload:
                        shared.seen.append(frame_of(payload, key))
                shared.at_once += 1
                shared.most_at_once = max(shared.most_at_once, shared.at_once)
            try:
                reply = shared.behave(payload)
            finally:
                with shared.lock:
                    shared.at_once -= 1
            if not isinstance(reply, Reply):
                reply = Reply(body=json.dumps(reply).encode())
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *args: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    shared.url = f"http://127.0.0.1:{server.server_address[1]}/"
    try:
        yield shared
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
