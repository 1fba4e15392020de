"""A server with the part of S3's API that reading a bucket needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.http_server import HttpRequest, Reply, http_server

BUCKET = "pictures"


class Bucket:
    """Files by name. The next ``failures_left`` requests find no file."""

    def __init__(self) -> None:
        self.url = ""
        self.files: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self.failures_left = 0

    def answer(self, request: HttpRequest) -> Reply:
        key = request.path.partition("?")[0].removeprefix(f"/{BUCKET}").strip("/")
        content: bytes | None = self.files.get(key) if key else b""
        if self.failures_left > 0:
            self.failures_left -= 1
            content = None
        if content and request.method == "GET":
            self.fetched.append(key)
        headers = {"ETag": '"0"', "Last-Modified": "Wed, 25 Nov 2026 00:00:00 GMT"}
        return Reply(404 if content is None else 200, content or b"", headers)


@contextmanager
def bucket_server() -> Iterator[Bucket]:
    """Serve an empty bucket on a free port."""
    bucket = Bucket()
    with http_server(bucket.answer) as server:
        bucket.url = server.url
        yield bucket
