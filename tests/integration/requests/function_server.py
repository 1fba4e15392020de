"""An HTTP server that acts as a function. A Python callable computes its answers."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from cvat_lambda.gateway.payload import BINARY_TYPE, decode_binary
from tests.http_server import HttpRequest, Reply, http_server, json_reply

Behaviour = Callable[[dict[str, Any]], Any]


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

    def answer(self, request: HttpRequest) -> Reply:
        is_binary = request.headers["content-type"] == BINARY_TYPE
        payload = decode_binary(request.body) if is_binary else request.json()
        with self.lock:
            self.payloads.append(
                {key: value for key, value in payload.items() if not key.startswith("image")}
            )
            self.seen += [frame_of(payload, key) for key in ("image", "image0") if key in payload]
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            answer = self.behave(payload)
        finally:
            with self.lock:
                self.at_once -= 1
        return answer if isinstance(answer, Reply) else json_reply(answer)


def frame_of(payload: dict[str, Any], key: str = "image") -> int:
    """Return the frame number of a payload's image, which its colour encodes."""
    red, green, _ = image_of(payload, key).convert("RGB").tobytes()[:3]
    return red + 256 * green


def image_of(payload: dict[str, Any], key: str = "image") -> Image.Image:
    """Return an image of a payload, which is base64 text, or the bytes of a binary body."""
    data = payload[key]
    return Image.open(io.BytesIO(data if isinstance(data, bytes) else base64.b64decode(data)))


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
    function = FunctionServer()
    with http_server(function.answer) as server:
        function.url = f"{server.url}/"
        yield function
