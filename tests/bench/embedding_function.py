"""An interactor process of fixed latencies that returns and accepts embeddings.

An invocation with ``image`` takes ``--encode-ms``. It returns a mask, and an embedding if the
invocation asks for it: 4 MiB of float32, as Segment Anything's. One without ``image`` takes
``--click-ms``: it has an ``embedding``, or the key of one that the function keeps. The answer to a
binary body is binary, with the mask as run lengths. The command

    python -m tests.bench.embedding_function --encode-ms 200 --click-ms 20

prints its port on the first line, and serves until its standard input ends or it is killed.
"""

from __future__ import annotations

import argparse
import base64
import math
import os
import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from cvat_lambda.gateway.payload import BINARY_TYPE, content_type, encode_payload
from tests.http_server import HttpRequest, Reply, http_server, json_reply

SHAPE = (1, 256, 64, 64)
# A mask of 100 x 100 pixels with its bounds, as rows and as run lengths.
MASK = {"mask": [[255] * 100] * 100, "bounds": [10, 10, 109, 109]}
RUNS = {"rle": [0, 10000, 10, 10, 109, 109]}


@dataclass(frozen=True, kw_only=True)
class Interactor:
    """Answers after the latency of the kind of invocation."""

    encode_s: float
    click_s: float
    mask: dict[bool, Reply]  # as JSON and as a binary body
    embedding: dict[bool, Reply]  # with the mask

    def answer(self, request: HttpRequest) -> Reply:
        body = request.body
        # The small members are at the start or the end of the body, so only these are searched.
        has_image = b'"image":' in body[:4096]
        latency_s = self.encode_s if has_image else self.click_s
        is_binary = content_type(body) == BINARY_TYPE
        time.sleep(max(0.0, request.begun_at + latency_s - time.monotonic()))
        if b'"want":"embedding"' in body[:4096] + body[-4096:]:
            return self.embedding[is_binary]
        return self.mask[is_binary]


def _binary_reply(answer: dict[str, Any]) -> Reply:
    return Reply(body=encode_payload(answer, binary=True), headers={"Content-Type": BINARY_TYPE})


def new_embedding(*, binary: bool = False) -> dict[str, Any]:
    """Return an embedding of random numbers, as bytes in a binary body or as base64."""
    data = os.urandom(4 * math.prod(SHAPE))
    shown = data if binary else base64.b64encode(data).decode()
    return {"data": shown, "shape": list(SHAPE), "dtype": "float32", "version": "1"}


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--encode-ms", type=float, default=200.0)
    parser.add_argument("--click-ms", type=float, default=20.0)
    options = parser.parse_args()
    interactor = Interactor(
        encode_s=options.encode_ms / 1000,
        click_s=options.click_ms / 1000,
        mask={False: json_reply(MASK), True: _binary_reply(RUNS)},
        embedding={
            False: json_reply({**MASK, "embedding": new_embedding()}),
            True: _binary_reply({**RUNS, "embedding": new_embedding(binary=True)}),
        },
    )
    with http_server(interactor.answer) as server:
        server.requests = deque(maxlen=1)  # type: ignore[assignment]  # it would grow by gigabytes
        print(server.port, flush=True)
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
