"""An interactor process of fixed latencies that returns and accepts embeddings.

An invocation with ``image`` takes ``--encode-ms``. It returns a mask, and an embedding if the
invocation asks for it: 4 MiB of float32, as Segment Anything's. One with ``embedding`` takes
``--click-ms``. The command

    python -m tests.bench.embedding_function --encode-ms 200 --click-ms 20

prints its port on the first line, and serves until its standard input ends or it is killed.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SHAPE = (1, 256, 64, 64)
# A mask of 100 x 100 pixels with its bounds.
MASK = {"mask": [[255] * 100] * 100, "bounds": [10, 10, 109, 109]}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    encode_s = 0.2
    click_s = 0.02
    answers: dict[bool, bytes]

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def do_POST(self) -> None:
        """Answer after the latency of the kind of invocation."""
        begun_at = time.monotonic()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        # The small members are at the start or the end of the body, so only these are searched.
        wanted = b'"want":"embedding"' in body[-4096:]
        latency_s = self.click_s if b'"embedding":{' in body[:4096] else self.encode_s
        time.sleep(max(0.0, begun_at + latency_s - time.monotonic()))
        answer = self.answers[wanted]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


def new_embedding() -> dict[str, Any]:
    """Return an embedding of random numbers."""
    data = base64.b64encode(os.urandom(4 * math.prod(SHAPE))).decode()
    return {"data": data, "shape": list(SHAPE), "dtype": "float32", "version": "1"}


def answers() -> dict[bool, bytes]:
    """Return the answers without and with an embedding."""
    return {
        False: json.dumps(MASK).encode(),
        True: json.dumps({**MASK, "embedding": new_embedding()}).encode(),
    }


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--encode-ms", type=float, default=200.0)
    parser.add_argument("--click-ms", type=float, default=20.0)
    options = parser.parse_args()
    Handler.encode_s = options.encode_ms / 1000
    Handler.click_s = options.click_ms / 1000
    Handler.answers = answers()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
