"""A detector and a ReID function in a process of their own, to be killed and started again.

    python -m tests.integration.requests.random_kills_function --port 0

prints its port on the first line. What it answers depends on the image alone: several kinds of
annotations with attributes, and rectangles are matched by their height in the picture.
"""

from __future__ import annotations

import argparse
import base64
import io
import threading
import time
from typing import Any

from PIL import Image

from tests.http_server import HttpRequest, Reply, http_server, json_reply

LATENCY_S = 0.02
PARKED = {"name": "parked", "input_type": "checkbox", "values": ["false"], "mutable": False}
LABELS: list[dict[str, Any]] = [
    {"name": "car", "type": "rectangle", "attributes": [PARKED]},
    {"name": "tree", "type": "polygon", "attributes": []},
    {"name": "rain", "type": "tag", "attributes": []},
]


def detect(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the detections of a frame, by its number."""
    image = Image.open(io.BytesIO(base64.b64decode(payload["image"])))
    red, green, _ = image.convert("RGB").tobytes()[:3]
    frame = red + 256 * green
    left = frame % 30
    parked = {"name": "parked", "value": "true" if frame % 2 else "false"}
    found: list[dict[str, Any]] = [
        {
            "label": "car",
            "type": "rectangle",
            "points": [left, 2, left + 12, 14],
            "confidence": 0.5 + frame % 10 / 20,
            "attributes": [parked],
        },
        {
            "label": "tree",
            "type": "polygon",
            "points": [left, 20, left + 9, 21, left + 4, 33],
            "confidence": 0.9,
        },
    ]
    if frame % 3 == 0:
        found.append({"label": "rain", "type": "tag", "confidence": 0.6})
    return found


def match(payload: dict[str, Any]) -> list[int]:
    """Match boxes with the same top coordinate."""
    heights = [box["points"][1] for box in payload["boxes1"]]
    return [
        heights.index(box["points"][1]) if box["points"][1] in heights else -1
        for box in payload["boxes0"]
    ]


def answer(request: HttpRequest) -> Reply:
    """Answer after a delay."""
    payload = request.json()
    time.sleep(LATENCY_S)
    return json_reply(match(payload) if "boxes0" in payload else detect(payload))


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    with http_server(answer, port=parser.parse_args().port) as server:
        print(server.port, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
