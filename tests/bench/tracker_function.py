"""A tracker process of fixed time per frame, with states of a fixed size.

It moves each object by half a pixel per frame. A call with ``images`` takes the time of all its
frames. The command

    python -m tests.bench.tracker_function --latency-ms 50 --state-bytes 2000

prints its port on the first line, and serves until its standard input ends or it is killed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from tests.http_server import HttpRequest, Reply, http_server

STEP = 0.5  # pixels per frame


def answer(body: dict[str, Any], padding: str) -> dict[str, Any]:
    """Return shapes and states, for each image of a clip if there are several."""
    shapes = body["shapes"]
    lefts = [
        state["left"] if state is not None else shape["points"][0] - STEP
        for shape, state in zip(shapes, body["states"] or [None] * len(shapes), strict=True)
    ]
    tops = [
        state["top"] if state is not None else shape["points"][1]
        for shape, state in zip(shapes, body["states"] or [None] * len(shapes), strict=True)
    ]
    results = []
    for _ in body.get("images", [None]):
        lefts = [left + STEP for left in lefts]
        results.append(
            [
                {"type": "rectangle", "points": [left, top, left + 20, top + 15]}
                for left, top in zip(lefts, tops, strict=True)
            ]
        )
    states = [
        {"left": left, "top": top, "padding": padding}
        for left, top in zip(lefts, tops, strict=True)
    ]
    if "images" in body:
        return {"results": results, "states": states}
    return {"shapes": results[0], "states": states}


def serve(latency_s: float, state_bytes: int) -> None:
    """Serve until standard input ends."""
    padding = "x" * state_bytes

    def reply(request: HttpRequest) -> Reply:
        server.requests.clear()  # their bodies would fill the memory
        began = time.monotonic()
        body = request.json()
        sent = json.dumps(answer(body, padding), separators=(",", ":"))
        left_s = latency_s * len(body.get("images", [None])) - (time.monotonic() - began)
        time.sleep(max(0.0, left_s))
        return Reply(body=sent)

    with http_server(reply) as server:
        print(server.port, flush=True)
        sys.stdin.buffer.read()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--latency-ms", type=float, default=50.0)
    parser.add_argument("--state-bytes", type=int, default=2000)
    options = parser.parse_args()
    serve(options.latency_ms / 1000, options.state_bytes)


if __name__ == "__main__":
    main()
