"""A server with the part of S3's API that reading a bucket needs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BUCKET = "pictures"


class Bucket:
    """Files by name. The next ``failures_left`` requests find no file."""

    def __init__(self) -> None:
        self.url = ""
        self.files: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self.failures_left = 0


@contextmanager
def bucket_server() -> Iterator[Bucket]:
    """Serve an empty bucket on a free port."""
    bucket = Bucket()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(head=True)

        def do_GET(self) -> None:
            self._answer(head=False)

        def _answer(self, *, head: bool) -> None:
            key = self.path.partition("?")[0].removeprefix(f"/{BUCKET}").strip("/")
            content: bytes | None = bucket.files.get(key) if key else b""
            if bucket.failures_left > 0:
                bucket.failures_left -= 1
                content = None
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.send_header("ETag", '"0"')
            self.send_header("Last-Modified", "Wed, 25 Nov 2026 00:00:00 GMT")
            self.end_headers()
            if not head and content:
                bucket.fetched.append(key)
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    bucket.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield bucket
    finally:
        server.shutdown()
        server.server_close()
